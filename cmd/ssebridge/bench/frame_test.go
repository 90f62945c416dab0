package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// framesOf returns what a parser makes of a stream that is cut at random places.
func framesOf(stream []byte, cut func(left int) int) (frames []string, err error) {
	var p frameParser
	for len(stream) > 0 {
		n := cut(len(stream))
		piece := bytes.Clone(stream[:n]) // as in a buffer that is used again
		stream = stream[n:]
		for rest := piece; ; {
			f, behind, ok, err := p.next(rest)
			if err != nil {
				return frames, err
			} else if !ok {
				break
			}
			frames = append(frames, fmt.Sprintf("%q %q %q %q", f.id, f.name, f.data, f.retry))
			rest = behind
		}
		clear(piece)
	}
	return frames, nil
}

func whole(left int) int { return left }

func TestFrames(t *testing.T) {
	t.Parallel()
	frames, err := framesOf([]byte("retry: 2000\n\nid: 1-a\nevent: x\ndata: {\"a\":1}\n\n:\n\n\n\nid:2\ndata\n\ndata: cut"), whole)
	require.NoError(t, err)
	assert.Equal(t, []string{
		`"" "" "" "2000"`, `"1-a" "x" "{\"a\":1}" ""`, `"" "" "" ""`, `"" "" "" ""`, `"2" "" "" ""`,
	}, frames)
	_, err = framesOf(bytes.Repeat([]byte("data: x\n"), maxFrameBytes/8+1), whole)
	require.ErrorIs(t, err, errFrameTooLong)
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("retry: 2000\n\nid: 1\ndata: {}\n\n\n\n\n:\n\ndata: x"), uint64(1))
	f.Add([]byte("\n\n\n\nid: 1\n\n"), uint64(2))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		expected, err := framesOf(stream, whole)
		require.NoError(t, err)
		one, err := framesOf(stream, func(int) int { return 1 })
		require.NoError(t, err)
		assert.Equal(t, expected, one)
		random := rand.New(rand.NewPCG(seed, 0))
		some, err := framesOf(stream, func(left int) int { return 1 + random.IntN(left) })
		require.NoError(t, err)
		assert.Equal(t, expected, some)
	})
}

// bodyOf returns the body that a parser finds in a response that is cut.
func bodyOf(response []byte, cut func(left int) int) (body []byte, problem string) {
	var p responseParser
	for len(response) > 0 {
		n := cut(len(response))
		piece := bytes.Clone(response[:n])
		response = response[n:]
		for len(piece) > 0 {
			part, rest, err := p.next(piece)
			if err != nil {
				problem, _, _ = strings.Cut(err.Error(), ": ") // the detail is what has come with the head
				return body, problem
			}
			body, piece = append(body, part...), rest
		}
	}
	return body, ""
}

func TestResponses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ response, body, problem string }{
		{response: "HTTP/1.1 200 OK\r\nA: b\r\n\r\ndata: 1\n\n", body: "data: 1\n\n"},
		{response: "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5\r\ndata:\r\n0004;x=y\r\n 1\n\n\r\n", body: "data: 1\n\n"},
		{response: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", body: "a", problem: "the response has ended"},
		{response: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", problem: "the length of a chunk is wrong"},
		{response: "HTTP/1.1 403 Forbidden\r\n\r\n{}", problem: "the bridge answered 403 Forbidden"},
		{response: "SSH-2.0-OpenSSH\r\n\r\n", problem: "not a response of HTTP/1.1"},
	} {
		for name, cut := range map[string]func(int) int{"whole": whole, "bytes": func(int) int { return 1 }} {
			body, problem := bodyOf([]byte(test.response), cut)
			assert.Equal(t, test.body, string(body), "%s, %s", test.response, name)
			assert.Equal(t, test.problem, problem, "%s, %s", test.response, name)
		}
	}
}

func FuzzResponses(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nA: b\r\n\r\ndata: 1\n\n"), uint64(1))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n4\r\n 1\n\n\r\n0\r\n\r\n"), uint64(2))
	f.Fuzz(func(t *testing.T, response []byte, seed uint64) {
		body, problem := bodyOf(response, whole)
		random := rand.New(rand.NewPCG(seed, 0))
		again, problemAgain := bodyOf(response, func(left int) int { return 1 + random.IntN(left) })
		assert.Equal(t, string(body), string(again))
		assert.Equal(t, problem, problemAgain)
	})
}
