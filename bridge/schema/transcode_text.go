package schema

import (
	"encoding/base64"
	"unicode/utf8"
)

// appendString appends a JSON string, escaped as little as RFC 8259, section 7, allows, and reports whether the text
// is valid UTF-8.
func appendString[T string | []byte](out []byte, text T) ([]byte, bool) {
	out = append(out, '"')
	from := 0
	for at := 0; at < len(text); {
		char := text[at]
		if char >= utf8.RuneSelf {
			char, size := utf8.DecodeRune([]byte(text[at:min(at+utf8.UTFMax, len(text))]))
			if char == utf8.RuneError && size == 1 {
				return out, false
			}
			at += size
			continue
		}
		if char < ' ' || char == '"' || char == '\\' {
			out = appendEscape(append(out, text[from:at]...), char)
			from = at + 1
		}
		at++
	}
	return append(append(out, text[from:]...), '"'), true
}

func appendEscape(out []byte, char byte) []byte {
	const hex = "0123456789abcdef"
	switch char {
	case '"', '\\':
		return append(out, '\\', char)
	case '\b':
		return append(out, `\b`...)
	case '\f':
		return append(out, `\f`...)
	case '\n':
		return append(out, `\n`...)
	case '\r':
		return append(out, `\r`...)
	case '\t':
		return append(out, `\t`...)
	}
	return append(out, '\\', 'u', '0', '0', hex[char>>4], hex[char&0xf])
}

// bytes writes bytes as standard base64 with padding: "Representation of each type" in
// https://protobuf.dev/programming-guides/json/.
func (t *transcoder) bytes(data []byte) {
	t.out = append(t.out, '"')
	t.out = base64.StdEncoding.AppendEncode(t.out, data)
	t.out = append(t.out, '"')
}
