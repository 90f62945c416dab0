package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// The floor is a process of its own that gets records on its standard input, each with a topic and a frame, writes the
// frame to every connection that has asked for the topic, and answers with a byte for each record.

const recordHead = 4 + 2 // bytes, big endian: the lengths of the frame and of the topic; then come topic and frame

// newRecordTemplate makes the template of a record, whose frame is as a bridge would send it.
func (p *plan) newRecordTemplate(size int, format string) *template {
	data := sampleJSON(p.newMark(), size)
	const place, name = "1000000-1763739183000000000", "bench.v1.Sample"
	topic := p.topic(0)
	frame := fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", place, name, data)
	if format == FormatCloudEvents {
		frame = fmt.Sprintf("id: %s\ndata: "+`{"specversion":"1.0","id":"%s","source":"/ssebridge","type":"%s","subject":"%s",`+
			`"time":"2026-01-01T00:00:00.000000001Z","data":%s}`+"\n\n", place, place, name, topic, data)
	}
	record := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))   //nolint:gosec // little more than size
	record = binary.BigEndian.AppendUint16(record, uint16(len(topic))) //nolint:gosec // a topic is short
	return p.newTemplate(append(append(record, topic...), frame...))
}

// runFloor is runBridge with the floor in the bridge's place.
func runFloor(ctx context.Context, c *Config, n int) (*Measurement, error) {
	p := c.newPlan()
	template := p.newRecordTemplate(c.Size, c.Format)
	f, err := startFloor(ctx, c, len(template.text))
	if err != nil {
		return nil, err
	}
	defer f.stop()
	t := &trial{
		config: c, plan: p, label: c.label("floor", n), server: process(f.command.Process.Pid),
		crowd: newCrowd(p, "http://"+f.address, "", c.Format), open: f.open, template: template,
	}
	if t.swarm, err = newSockets(ctx, t.crowd); err != nil {
		return nil, err
	}
	defer t.swarm.close()
	defer t.swarm.drop()
	return t.run(ctx)
}

// floor is the running process.
type floor struct {
	command *exec.Cmd
	in      io.WriteCloser
	address string
	record  int // bytes of a record
	ended   sync.WaitGroup

	writing sync.Mutex // answers come in the order of what is written
	mu      sync.Mutex
	waiting []*floorOutlet
	failed  error
}

func startFloor(ctx context.Context, c *Config, record int) (*floor, error) {
	f := &floor{record: record}
	f.command = exec.CommandContext(ctx, c.FloorCommand[0], c.FloorCommand[1:]...) //nolint:gosec // this program
	f.command.Env = append(f.command.Environ(), "GOGC=off")                        // it makes no garbage while it writes
	f.command.Stderr = c.Progress
	in, err := f.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := f.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.in = in
	if err := process(c.PID).onSameProcessors(f.command.Start); err != nil {
		return nil, err
	}
	answers := bufio.NewReader(out)
	line, err := answers.ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("its address: %w", err), in.Close(), f.command.Wait())
	}
	f.address = strings.TrimSpace(line)
	f.ended.Go(func() { f.answer(answers) })
	return f, nil
}

func (f *floor) stop() {
	_ = f.in.Close() // ends the process
	f.ended.Wait()
	_ = f.command.Wait() // it has nothing more to say
}

// answer hands each answer to the publisher whose turn it is.
func (f *floor) answer(answers io.Reader) {
	piece := make([]byte, 4<<10)
	for {
		n, err := answers.Read(piece)
		f.mu.Lock()
		for range n {
			f.waiting[0].answers++
			f.waiting[0].more.Signal()
			f.waiting = f.waiting[1:]
		}
		if err != nil {
			f.failed = fmt.Errorf("the floor has ended: %w", err)
			for _, o := range f.waiting {
				o.more.Signal()
			}
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
	}
}

// floorOutlet is what a publisher has in place of a Publish stream.
type floorOutlet struct {
	floor *floor

	// Guarded by the floor's mu.
	more           *sync.Cond
	sent, received int
	answers        int // that receive has not returned
	over           bool
}

func (f *floor) open(context.Context) outlet {
	return &floorOutlet{floor: f, more: sync.NewCond(&f.mu)}
}

func (o *floorOutlet) send(events []byte) error {
	o.floor.writing.Lock()
	defer o.floor.writing.Unlock()
	o.floor.mu.Lock()
	for range len(events) / o.floor.record {
		o.floor.waiting = append(o.floor.waiting, o)
		o.sent++
	}
	o.floor.mu.Unlock()
	_, err := o.floor.in.Write(events)
	return err
}

func (o *floorOutlet) end() error {
	o.floor.mu.Lock()
	defer o.floor.mu.Unlock()
	o.over = true
	o.more.Signal()
	return nil
}

func (o *floorOutlet) receive() (*ssebridgev1.PublishResponse, error) {
	o.floor.mu.Lock()
	defer o.floor.mu.Unlock()
	for o.answers == 0 {
		switch {
		case o.over && o.received == o.sent:
			return nil, io.EOF
		case o.floor.failed != nil:
			return nil, o.floor.failed
		}
		o.more.Wait()
	}
	response := &ssebridgev1.PublishResponse{Results: make([]*ssebridgev1.PublishResult, o.answers)}
	o.received, o.answers = o.received+o.answers, 0
	return response, nil
}

// RunFloor is the process of the floor. It returns when in ends.
func RunFloor(in io.Reader, out io.Writer) error {
	runtime.LockOSThread() // all is done by one
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	connections := &floorConnections{of: map[string][]int{}}
	var accepting sync.WaitGroup
	accepting.Go(func() { connections.accept(listener) })
	defer connections.close()
	defer accepting.Wait()
	defer listener.Close() //nolint:errcheck // makes accept return
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return err
	}
	buffer, held := make([]byte, 1<<20), 0
	for {
		n, err := in.Read(buffer[held:])
		held += n
		done, records := connections.write(buffer[:held])
		held = copy(buffer, buffer[done:held])
		if held == len(buffer) {
			buffer = slices.Concat(buffer, buffer) // the second half is read over
		}
		if records > 0 {
			if _, err := out.Write(make([]byte, records)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// floorConnections are the descriptors of readers, by what they have asked for.
type floorConnections struct {
	mu sync.Mutex
	of map[string][]int
}

func (c *floorConnections) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			_ = conn.Close()
			continue
		}
		if fd, err := detach(conn); err == nil {
			topic := request.URL.Query().Get("topic")
			_, _ = unix.Write(fd, []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: ssebridge.open\ndata: {}\n\n"))
			c.mu.Lock()
			c.of[topic] = append(c.of[topic], fd)
			c.mu.Unlock()
		}
		_ = conn.Close()
	}
}

// detach returns a descriptor that waits when it is written to.
func detach(conn net.Conn) (fd int, err error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, errors.New("not a TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var duplicate error
	err = raw.Control(func(from uintptr) { fd, duplicate = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, duplicate); err != nil {
		return 0, err
	}
	return fd, unix.SetNonblock(fd, false)
}

// write writes the frames of the records that are whole. It returns how many bytes and records these were.
func (c *floorConnections) write(text []byte) (done, records int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(text)-done > recordHead {
		record := text[done:]
		size, topic := int(binary.BigEndian.Uint32(record)), int(binary.BigEndian.Uint16(record[4:]))
		end := recordHead + topic + size
		if len(record) < end {
			break
		}
		name, frame := record[recordHead:recordHead+topic], record[recordHead+topic:end]
		for _, fd := range c.of[string(name)] {
			deliver(fd, frame)
		}
		for _, fd := range c.of[string(name[:topic-topicDigits])+"*"] {
			deliver(fd, frame)
		}
		done += end
		records++
	}
	return done, records
}

// deliver is the one system call, of which Go's scheduler is not told, as it is not in a program in C. Readers that are
// gone are gone.
func deliver(fd int, frame []byte) {
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(frame))), uintptr(len(frame))) //nolint:gosec,dogsled // the system call's own form
}

func (c *floorConnections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, descriptors := range c.of {
		for _, fd := range descriptors {
			_ = unix.Close(fd)
		}
	}
}
