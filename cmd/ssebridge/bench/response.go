package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const maxHeadBytes = 64 << 10

// responseParser takes the head and the chunks off an HTTP/1.1 response that comes in pieces (RFC 9112, sections 4 to 7).
type responseParser struct {
	held    []byte // the beginning of the head, or of the line of a chunk's size
	begun   bool   // the head is behind
	chunked bool
	left    int // bytes of the chunk, with its line end
}

// statusError is a response other than 200.
type statusError struct {
	status string
	detail []byte // the beginning of the body
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the bridge answered %s: %s", e.status, bytes.TrimSpace(e.detail))
}

var (
	errHead  = errors.New("not a response of HTTP/1.1")
	errChunk = errors.New("the length of a chunk is wrong")
	errEnded = errors.New("the response has ended")
)

// next returns the next part of the body in a piece and what follows it. Both are empty when there is no more in it.
func (p *responseParser) next(piece []byte) (body, rest []byte, err error) {
	if !p.begun {
		if piece, err = p.head(piece); err != nil || !p.begun {
			return nil, nil, err
		}
	}
	if !p.chunked {
		return piece, nil, nil
	}
	for len(piece) > 0 {
		if p.left > 2 {
			n := min(p.left-2, len(piece))
			p.left -= n
			return piece[:n], piece[n:], nil
		}
		if p.left > 0 { // the line end behind the chunk
			n := min(p.left, len(piece))
			p.left -= n
			piece = piece[n:]
			continue
		}
		if piece, err = p.size(piece); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, nil
}

// head takes the head and returns what is behind it.
func (p *responseParser) head(piece []byte) ([]byte, error) {
	before := len(p.held)
	p.held = append(p.held, piece...)
	end := bytes.Index(p.held, []byte("\r\n\r\n"))
	if end < 0 {
		if len(p.held) > maxHeadBytes {
			return nil, errHead
		}
		return nil, nil
	}
	head := p.held[:end]
	body := piece[end+4-before:]
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	version, status, _ := bytes.Cut(line, []byte{' '})
	if !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return nil, errHead
	}
	if !bytes.HasPrefix(status, []byte("200")) {
		return nil, &statusError{status: string(status), detail: bytes.Clone(body)}
	}
	for field := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte{':'})
		if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			p.chunked = bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked"))
		}
	}
	p.begun, p.held = true, nil
	return body, nil
}

// size takes the line before a chunk, or a part of it.
func (p *responseParser) size(piece []byte) ([]byte, error) {
	line, rest, ends := bytes.Cut(piece, []byte{'\n'})
	p.held = append(p.held, line...)
	if len(p.held) > 1<<10 {
		return nil, errChunk
	}
	if !ends {
		return nil, nil
	}
	digits, _, _ := bytes.Cut(bytes.TrimSpace(p.held), []byte{';'})
	size, err := strconv.ParseUint(string(digits), 16, 31)
	switch {
	case err != nil:
		return nil, errChunk
	case size == 0:
		return nil, errEnded
	}
	p.left, p.held = int(size)+2, p.held[:0]
	return rest, nil
}
