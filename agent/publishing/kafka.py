"""Publishing straight to a Kafka topic, in binary mode (CloudEvents Kafka protocol binding 1.0.2, section 3.2).

The record's value is the data, its headers are `content-type` and `ce_` with the name of each other attribute, as UTF-8
without percent-encoding, and its key is the partitionkey: the events of a node stay in one partition, in their order.
"""

import gc
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from shared.eventing.event import WireEvent
from shared.eventing.publishing import PublishingFailed

if TYPE_CHECKING:
    from kafka import KafkaProducer


def encode(event: WireEvent) -> tuple[bytes | None, list[tuple[str, bytes]], bytes | None]:
    """Key, headers and value of the record. No data is no value."""
    attributes = dict(event.attributes)
    content_type, key = attributes.pop("datacontenttype", None), attributes.get("partitionkey")
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    if content_type is not None:
        headers.append(("content-type", content_type.encode()))
    return None if key is None else key.encode(), headers, event.body or None


class KafkaPublisher:
    """Sends events to one topic. A record is durable when all in-sync replicas have it (acks=all).

    brokers: `host:port` of some of them. credentials: a directory with a Secret as Knative's broker for Kafka has it:
    `protocol` (PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL), `sasl.mechanism`, `user`, `password`, `ca.crt`, `user.crt`
    and `user.key`. None is PLAINTEXT. timeout: seconds to connect, to find the topic, and to be answered.

    The producer is idempotent: what it sends again by itself is in the topic once. After any failure a new one is made.
    One that failed may repeat the error for every later record (kafka-python 3.0 does so after a record that is too
    large), and sends a record that timed out when the broker is back, at which the spool sends it too.
    """

    def __init__(
        self, brokers: tuple[str, ...], topic: str, *, credentials: Path | None = None, timeout: float = 5.0
    ) -> None:
        self._brokers = brokers
        self._topic = topic
        self._credentials = credentials
        self._timeout = timeout
        self._producer: KafkaProducer | None = None

    def publish(self, event: WireEvent) -> None:
        """Returns once all in-sync replicas have the record. Raises PublishingFailed."""
        from kafka.errors import (
            BrokerResponseError,
            InvalidRecordError,
            KafkaError,
            MessageSizeTooLargeError,
            NetworkExceptionError,
            RecordListTooLargeError,
            RequestTimedOutError,
        )

        key, headers, value = encode(event)
        try:
            self._connected().send(self._topic, value, key, headers).get(2 * self._timeout)
        except (KafkaError, OSError, ValueError) as error:  # OSError, ValueError: of the credentials
            self.close()
            raise PublishingFailed(
                f"the Kafka topic {self._topic}: {error}",
                permanent=isinstance(error, InvalidRecordError | MessageSizeTooLargeError | RecordListTooLargeError),
                answered=isinstance(error, BrokerResponseError)
                and not isinstance(error, NetworkExceptionError | RequestTimedOutError),
            ) from None

    def close(self) -> None:
        """Ends the connections, within a second."""
        from kafka.errors import KafkaError

        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):
                producer.close(timeout=1)

    def _connected(self) -> "KafkaProducer":
        """The producer, connected to a broker. Raises KafkaError, OSError and ValueError."""
        from kafka import KafkaProducer

        if self._producer is None:
            gc.collect()  # kafka-python 3.0 leaves the sockets of an attempt that found no broker to the collector
            milliseconds = int(self._timeout * 1000)
            self._producer = KafkaProducer(
                bootstrap_servers=list(self._brokers),
                client_id="sentinel-agent",
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=milliseconds,
                max_block_ms=milliseconds,
                request_timeout_ms=milliseconds,
                delivery_timeout_ms=milliseconds,
                metrics_enabled=False,
                **security_options(self._credentials),
            )
        return self._producer


def security_options(directory: Path | None) -> dict[str, object]:
    """The options of KafkaProducer for the credentials in a directory. Raises OSError for one that cannot be read."""
    if directory is None:
        return {}
    given = {path.name for path in directory.iterdir()}
    texts = {
        "protocol": "security_protocol",
        "sasl.mechanism": "sasl_mechanism",
        "user": "sasl_plain_username",
        "password": "sasl_plain_password",
    }
    files = {"ca.crt": "ssl_cafile", "user.crt": "ssl_certfile", "user.key": "ssl_keyfile"}
    return {
        **{option: (directory / name).read_text().strip() for name, option in texts.items() if name in given},
        **{option: str(directory / name) for name, option in files.items() if name in given},
    }
