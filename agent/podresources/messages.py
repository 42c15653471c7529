"""The messages of the pod-resources API, v1: what List is asked, and what it answers.

Names and numbers are those of k8s.io/kubelet/pkg/apis/podresources/v1/api.proto. Only what the agent reads is declared:
protobuf skips the other fields of an answer (CPUs, memory, topology, dynamic resources). The descriptor is built here,
so that no code generator is part of the build.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "v1"
_FIELD = descriptor_pb2.FieldDescriptorProto
_ONE, _MANY = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
_TEXT = ""

_MESSAGES = {
    "ListPodResourcesRequest": (),
    "ListPodResourcesResponse": (("pod_resources", 1, _MANY, "PodResources"),),
    "PodResources": (
        ("name", 1, _ONE, _TEXT),
        ("namespace", 2, _ONE, _TEXT),
        ("containers", 3, _MANY, "ContainerResources"),
    ),
    "ContainerResources": (
        ("name", 1, _ONE, _TEXT),
        ("devices", 2, _MANY, "ContainerDevices"),
    ),
    "ContainerDevices": (
        ("resource_name", 1, _ONE, _TEXT),
        ("device_ids", 2, _MANY, _TEXT),
    ),
}
"""By message: its fields as (name, number, label, message type); _TEXT stands for a string."""


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="podresources/v1/api.proto", package=PACKAGE, syntax="proto3")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, number, label, type_name in fields:
            field = declared.field.add(name=name, number=number, label=label)
            field.type = _FIELD.TYPE_MESSAGE if type_name else _FIELD.TYPE_STRING
            if type_name:
                field.type_name = f".{PACKAGE}.{type_name}"
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


ListPodResourcesRequest = _message("ListPodResourcesRequest")
ListPodResourcesResponse = _message("ListPodResourcesResponse")
