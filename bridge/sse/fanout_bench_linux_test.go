package sse_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/sse"
)

// asSwarm makes the test binary a swarm of readers, so that what they cost is not measured.
const asSwarm = "SSEBRIDGE_TEST_SWARM"

func TestMain(m *testing.M) {
	if address := os.Getenv(asSwarm); address != "" {
		if err := swarm(address); err != nil && !errors.Is(err, unix.ECONNRESET) { // the end of the benchmark
			_, _ = fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

const fanoutReaders = 1000

// BenchmarkFanout measures the CPU time of one delivery of an event of 200 bytes: the floor, which is one write(2) per
// delivery and nothing else; connections that are taken over; and a goroutine per stream. An iteration is an event that
// all readers have received; the readers are another process.
func BenchmarkFanout(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		var descriptors []int
		accepted := make(chan struct{})
		go func() {
			defer close(accepted)
			for range fanoutReaders {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close() // they stay open until all are there, as the files do until the end
				file, err := conn.(*net.TCPConn).File()
				if err != nil {
					return
				}
				_ = unix.SetNonblock(int(file.Fd()), true)
				descriptors = append(descriptors, int(file.Fd()))
				_, _ = unix.Write(int(file.Fd()), []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"))
				b.Cleanup(func() { _ = file.Close() })
			}
		}()
		swarm := startSwarm(b, listener.Addr().String())
		<-accepted
		frame := fanoutEvent(1).Frame(bridge.FormatCloudEvents)
		measureFanout(b, swarm, func() {
			for _, fd := range descriptors { // without telling the scheduler, as a program in C
				_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(frame))), uintptr(len(frame)))
			}
		})
	})
	for _, way := range []struct {
		name      string
		transport transport
		stopped   bool
	}{
		{name: "taken over", transport: everyTransport[0]},
		{name: "taken over, and one that reads nothing", transport: everyTransport[0], stopped: true},
		{name: "goroutines", transport: everyTransport[1]},
		{name: "goroutines, and one that reads nothing", transport: everyTransport[1], stopped: true},
	} {
		b.Run(way.name, func(b *testing.B) {
			bench := newRealBench(b, way.transport, sse.Config{}, bridge.Settings{})
			swarm, readers := startSwarm(b, bench.address), fanoutReaders
			if way.stopped {
				stopReading(b, bench)
				readers++
			}
			require.Eventually(b, func() bool { return bench.hub.Readers() == readers }, 10*time.Second, time.Millisecond)
			bench.log.data = fanoutEvent(1).Data
			measureFanout(b, swarm, func() { bench.log.store("a") })
		})
	}
}

// stopReading opens a stream for which more is kept than the kernel takes, and reads nothing of it.
func stopReading(b *testing.B, bench *realBench) {
	b.Helper()
	bench.log.data = fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("x", 1<<20))
	first := bench.log.store("b")
	for range 8 {
		bench.log.store("b")
	}
	conn, err := net.Dial("tcp", bench.address)
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	require.NoError(b, conn.(*net.TCPConn).SetReadBuffer(4<<10)) //nolint:forcetypeassert // panics in a benchmark
	_, err = fmt.Fprintf(conn, "GET /v1/events?topic=a&topic=b&since=%s HTTP/1.1\r\nHost: x\r\n\r\n", first)
	require.NoError(b, err)
}

func fanoutEvent(seq uint64) *bridge.Event {
	return &bridge.Event{
		Cursor: bridge.Cursor{Seq: seq, Time: int64(seq) * 10}, Topic: "a", Type: "test.v1.Event",
		Data: fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("x", 200)),
	}
}

// measureFanout publishes b.N events one after the other and reports what a delivery cost this process, and how long
// it took until the last reader had an event, at the 99th percentile.
func measureFanout(b *testing.B, swarm *bufio.Reader, publish func()) {
	b.Helper()
	took := make([]time.Duration, b.N)
	before := cpuTime(b)
	b.ResetTimer()
	for i := range took {
		begun := time.Now()
		publish()
		if _, err := swarm.ReadByte(); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(begun)
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms/event")
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/fanoutReaders, "cpu-ns/delivery")
	b.ReportMetric(0, "ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// startSwarm starts a process of readers, which says a byte for each event that all of them have received.
func startSwarm(b *testing.B, address string) *bufio.Reader {
	b.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), asSwarm+"="+address)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, command.Start())
	b.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	swarm := bufio.NewReader(out)
	_, err = swarm.ReadByte() // all have the head of their stream
	require.NoError(b, err)
	return swarm
}

// swarm opens streams and counts the published events on them.
func swarm(address string) error {
	poll, err := unix.EpollCreate1(0)
	if err != nil {
		return err
	}
	for range fanoutReaders {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "GET /v1/events?topic=a HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		head, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
		if err != nil || !strings.Contains(head, strconv.Itoa(http.StatusOK)) {
			return fmt.Errorf("%q %w", head, err)
		}
		file, err := conn.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		fd := int(file.Fd())
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
		defer file.Close() // until the process ends
	}
	time.Sleep(200 * time.Millisecond) // the rest of the heads
	if _, err := os.Stdout.WriteString("."); err != nil {
		return err
	}
	events, buffer, received := make([]unix.EpollEvent, 256), make([]byte, 64<<10), 0
	for {
		n, err := unix.EpollWait(poll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, event := range events[:max(n, 0)] {
			n, err := unix.Read(int(event.Fd), buffer)
			if err != nil || n == 0 {
				return err
			}
			received += bytes.Count(buffer[:n], []byte(`"specversion"`))
		}
		for ; received >= fanoutReaders; received -= fanoutReaders {
			if _, err := os.Stdout.WriteString("."); err != nil {
				return err
			}
		}
	}
}
