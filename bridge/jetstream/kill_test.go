package jetstream

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

const childDirectory = "SSEBRIDGE_TEST_APPEND_IN"

// appendUntilKilled is the child: it appends numbered events as fast as it can and prints each number and place as
// it is acknowledged.
func appendUntilKilled(directory string) {
	embedded, err := StartEmbedded(EmbeddedConfig{DataDir: directory, Logger: quiet})
	if err != nil {
		panic(err)
	}
	log, err := Open(context.Background(), Config{Connect: embedded.Connect, Logger: quiet, MaxInFlightEvents: 256})
	if err != nil {
		panic(err)
	}
	bounds, err := log.Bounds(context.Background())
	if err != nil {
		panic(err)
	}
	acknowledge := make(chan bridge.Pending, 256)
	go func() {
		for number := int(bounds.Newest.Seq) + 1; ; number++ {
			pending, err := log.Append(context.Background(), newEvent(number), strconv.Itoa(number))
			if err != nil {
				panic(err)
			}
			acknowledge <- pending
		}
	}()
	for number := int(bounds.Newest.Seq) + 1; ; number++ {
		receipt, err := (<-acknowledge).Wait()
		if err != nil {
			panic(err)
		}
		fmt.Println(number, receipt.Cursor)
	}
}

// runAndKill runs the child until it has acknowledged some events and returns what it printed.
func runAndKill(t *testing.T, directory string, count int) (acknowledged map[string]string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDirectory+"="+directory)
	var complaints bytes.Buffer
	child.Stderr = &complaints
	output, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	acknowledged = make(map[string]string)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		var number, place string
		if _, err := fmt.Sscan(lines.Text(), &number, &place); err != nil {
			continue // the last line may be torn
		}
		acknowledged[number] = place
		if len(acknowledged) == count {
			require.NoError(t, child.Process.Kill())
		}
	}
	require.Error(t, child.Wait())
	require.Empty(t, complaints.String())
	require.GreaterOrEqual(t, len(acknowledged), count)
	return acknowledged
}

func TestKill(t *testing.T) {
	directory := t.TempDir()
	acknowledged := make(map[string]string)
	for range 3 { // a log that was killed before, too
		for number, place := range runAndKill(t, directory, 3000) {
			require.Empty(t, acknowledged[number])
			acknowledged[number] = place
		}
	}
	log := open(t, startEmbedded(t, directory))
	bounds, err := log.Bounds(t.Context())
	require.NoError(t, err)
	found := make(map[string]string)
	last := bridge.Cursor{}
	for after := uint64(0); after < bounds.Newest.Seq; {
		page, err := log.Read(t.Context(), after, bounds.Newest.Seq)
		require.NoError(t, err)
		require.Zero(t, page.FirstKept)
		for _, event := range page.Events {
			require.Empty(t, found[event.ID], "every event is there once")
			found[event.ID] = event.Cursor.String()
			require.Greater(t, event.Cursor.Time, last.Time)
			last = event.Cursor
		}
		after = page.Through
	}
	for number, place := range acknowledged {
		require.Equal(t, place, found[number], "an acknowledged event is where the receipt says")
	}
	require.Less(t, last.Time, time.Now().UnixNano())
}
