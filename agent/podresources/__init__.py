"""The kubelet's pod-resources API: which container has which device."""
