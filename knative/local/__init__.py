"""The laptop platform: runs the manifests of `knative/base` with nothing but pip.

`python -m knative.local` is Knative as far as Sentinel uses it, measured against the real thing: the Kafka broker's
ingress and delivery, Services that scale to zero, PingSource, ApiServerSource, SinkBinding. Of Kubernetes itself it
runs DaemonSets, on simulated GPU nodes alone. A manifest that asks for what is not reproduced is refused with the path
of the field.

What differs, where nothing may depend on it:

- one process a Service: max-scale is not reproduced, so the wait for a place does not count towards a delivery's
  timeout;
- one process of a DaemonSet for each kind of GPU node: it stands for the first node of its kind;
- an event that waits for its retry gives its place among the 99 up;
- one partition, and each Trigger's copy of an event has an offset of its own;
- an event that no Trigger takes is acknowledged and not kept; a Trigger that is gone takes what was pending with it;
- errors of the ingress say why, at once; 303 is refused like any other redirect; a stalled body runs into the timeout.
"""
