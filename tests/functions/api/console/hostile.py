"""Strings that break pages which take text for markup, or text for something that they have in mind."""

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\"><svg/onload=alert(3)><a href='javascript:alert(4)'>",
    "</title></textarea></style></script><iframe src=https://elsewhere.test/></iframe>",
    "javascript:alert(5)//",
    "{{constructor.constructor('alert(6)')()}} ${alert(7)} <%= 7 * 7 %> #{7*7}",
    "' OR 1=1; DROP TABLE workloads; --",
    "../../../../etc/passwd %00 %3Cscript%3E &lt;b&gt; &amp;nbsp;",
    "\u202eright to left\u202d \u2066isolate \u200b\ufeffzero width",
    "שלום عالم mixed with English 123",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ﷽ 𝕿𝖍𝖊 ⅷ",
    "null",
    "undefined",
    "NaN",
    "true",
    "[object Object]",
    "__proto__",
    "constructor",
    "\\ \" ' ` \t tab",
    "-1e309",
    "W" * 3000,
    "many words " * 300 + "end",
)
"""Each may stand wherever somebody else's text is shown."""
