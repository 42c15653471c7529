"""`sentinel cost`: a table, JSON, and CSV with the columns of FOCUS."""

import csv

from tests.functions.cli.conftest import Sentinel
from tests.support.builders import Deliver


def test_the_command_prints_a_table_json_and_csv(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.decide("chat")
    table = sentinel("cost", "--by", "workload", "--since", "30d")
    assert table.lines[0].startswith("WORKLOAD")
    assert table.lines[0].endswith("FORECAST  CEILING")
    assert [line.split()[0] for line in table.lines[1:]] == ["search/search/chat", "total"]
    assert sentinel("cost", "-o", "json").json["items"][0]["key"] == "search"
    [row] = csv.DictReader(sentinel("cost", "--by", "sku", "-o", "csv").lines)
    assert (row["SkuId"], row["BillingCurrency"], row["ConsumedUnit"]) == ("L4", "USD", "GPU Hours")
    assert row["x_CostPerHour"] == "1.930680"
    refused = sentinel("cost", "--since", "soon")
    assert (refused.code, "since" in refused.err) == (2, True)
