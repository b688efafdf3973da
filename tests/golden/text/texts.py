"""Texts that tokenizers stumble over. In normal form C, so that every reference agrees on them."""

TEXTS = [
    "Hello world! It's a test, don't you'll we're I'd THEY'VE She'S.",
    "   leading  spaces\n\n\nnew\r\n\ttabs\t\t mixed \t \n  \n end   ",
    "def f(x):\n    return {\"a\": [1, 22, 333, 4444], 'b': x**2 != 3.14e-10}  # comment\n\tif (x<=y&&z>>2) { i++; }",
    "0 12 123 1234567 \u00bd \u00b2 \u0663\u0664\u0665 \u0967\u0968 \u2167 \u2460 1,000.50 $5 \u20ac6 2024-01-31T12:34:56Z",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627\u060c \u0628\u0643",
    "\u4e2d\u6587\u6d4b\u8bd5\uff0c\u4f60\u597d\uff01\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8\u3002\ud55c\uad6d\uc5b4 \ud14c\uc2a4\ud2b8",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e\u0964 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 Ti\u1ebfng Vi\u1ec7t \u0130stanbul Gr\u00f6\u00dfe \u017ad\u0142",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308\U0001f1e9\U0001f1ea \u2764\ufe0f e\u200bz\u00a0n\u3000i\u2003m\ufeff",
    "!!!???...---===++*** // \\\\ ||~~``^^&&%%$$##@@ \u201cq\u201d \u2018s\u2019 \u00abg\u00bb \u2013 \u2014 \u2026 \u3001\u3002",
    "http://example.com/a?b=1&c=%20#d user@example.com C:\\Windows camelCase snake_case SCREAM",
    "<|im_start|>user\nhi<|im_end|><s> </s><unk> <0x0A>  <|user|>  x",
    "a" + " " * 37 + "b" + "\n" * 19 + "c" + "aaaaaaaaaaaaaaa",
    "",
    " ",
]
