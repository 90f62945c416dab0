package bench

import (
	"bytes"
	"errors"
)

// maxFrameBytes is more than the largest frame that a bridge sends.
const maxFrameBytes = 4 << 20

var errFrameTooLong = errors.New("a frame of the event stream has no end")

// frame is one event of a stream, as the bridge writes it: lines end with LF, and there is one data line. What it
// refers to is valid until the next call of the parser that made it.
type frame struct {
	id, name, data, retry []byte
}

// frameParser finds the frames in a stream that comes in pieces (WHATWG HTML, section 9.2.6). A frame that is whole in a
// piece is not copied.
type frameParser struct {
	held []byte // the beginning of a frame
	used bool   // held was returned
}

// next returns the first frame that ends in the piece and what follows it. Without one it keeps the piece and reports
// false.
func (p *frameParser) next(piece []byte) (f frame, rest []byte, ok bool, err error) {
	if p.used {
		p.used = false
		p.held = p.held[:0]
		if cap(p.held) > 16<<10 {
			p.held = nil // large events are rare, and readers are many
		}
	}
	text, rest, ends := bytes.Cut(piece, []byte("\n\n"))
	switch {
	case len(p.held) > 0 && p.held[len(p.held)-1] == '\n' && len(piece) > 0 && piece[0] == '\n':
		p.used = true
		return parseFrame(p.held), piece[1:], true, nil
	case !ends:
		p.held = append(p.held, piece...)
		return frame{}, nil, false, p.check()
	case len(p.held) == 0:
		return parseFrame(text), rest, true, nil
	default:
		p.used = true
		p.held = append(p.held, text...)
		return parseFrame(p.held), rest, true, nil
	}
}

func (p *frameParser) check() error {
	if len(p.held) > maxFrameBytes {
		return errFrameTooLong
	}
	return nil
}

func parseFrame(text []byte) (f frame) {
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		text = rest
		name, value, _ := bytes.Cut(line, []byte{':'})
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
		switch string(name) {
		case "id":
			f.id = value
		case "event":
			f.name = value
		case "data":
			f.data = value
		case "retry":
			f.retry = value
		}
	}
	return f
}
