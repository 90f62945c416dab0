package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	status, out, errs := command(t, "", "config", "check", "--no-files", "../../deploy/config.yaml")
	require.Zero(t, status, errs)
	assert.Equal(t, "../../deploy/config.yaml: ok\n", out)

	wrong := writeConfig(t, "public:\n  adr: ':1'\nops: {addr: x}\n")
	for _, line := range [][]string{{"config", "check", wrong}, {"config", "check", "--config", wrong}} {
		status, out, errs = command(t, "", line...)
		assert.Equal(t, 1, status)
		assert.Empty(t, out)
		assert.Equal(t, wrong+":2:3: public.adr: there is no such key: did you mean addr?\n    2 |   adr: ':1'\n      |   ^\n"+
			wrong+`:3:13: ops.addr: "x" is no address: use host:port or :port`+"\n    3 | ops: {addr: x}\n      |             ^\n", errs)
	}

	status, _, errs = command(t, "", "config", "check", "../../deploy/config.yaml")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "issuers[0].ca_file: open /var/run/", "a file that is in a pod only")
	status, _, errs = command(t, "", "config", "check", "--no-files", writeConfig(t, "topics: [{pattern: a, subscribe: auth.subject == ''}]\n"))
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, ":1:34: topics[0].subscribe: ")

	lost := writeConfig(t, "schemas:\n  - nowhere*.binpb\n")
	status, _, errs = command(t, "", "config", "check", lost)
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, lost+":2:3: schemas: schema: nowhere*.binpb matches no file")

	status, _, errs = command(t, "", "config", "check")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "name one")
	status, _, errs = command(t, "", "config", "check", "nowhere.yaml")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "nowhere.yaml: no such file")
}

// TestPrecedence: flag, then environment, then file, then default.
func TestPrecedence(t *testing.T) {
	file := writeConfig(t, `
public: {addr: ":1"}
internal: {addr: ":1001"}
ops: {addr: ":2001"}
log: {max_age: 1h}
schemas: [file.binpb]
`)
	t.Setenv("SSEBRIDGE_PUBLIC_ADDR", ":2")
	t.Setenv("SSEBRIDGE_INTERNAL_ADDR", ":1002")
	t.Setenv("SSEBRIDGE_SCHEMA", "environment.binpb")
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addServerFlags(flags)
	require.NoError(t, flags.Parse([]string{"--public-addr=:3", "--log-max-bytes=3GiB"}))
	require.NoError(t, flagsFromEnvironment(flags))
	loaded, err := loadConfig(file, flags)
	require.NoError(t, err)
	assert.Equal(t, ":3", loaded.Public.Addr, "flag")
	assert.Equal(t, config.Size(3<<30), loaded.Log.MaxBytes, "flag")
	assert.Equal(t, ":1002", loaded.Internal.Addr, "environment")
	assert.Equal(t, []string{"environment.binpb"}, loaded.Schemas, "environment")
	assert.Equal(t, ":2001", loaded.Ops.Addr, "file")
	assert.Equal(t, time.Hour, loaded.Log.MaxAge, "file")
	assert.Equal(t, "ssebridge-data", loaded.Log.DataDir, "default")

	t.Setenv("SSEBRIDGE_INTERNAL_ADDR", "nonsense")
	t.Setenv("SSEBRIDGE_LOG_MAX_AGE", "7d")
	status, _, errs := command(t, "", "serve", "--config", file, "--ops-addr", ":x", "--data-dir", t.TempDir())
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, `SSEBRIDGE_INTERNAL_ADDR: internal.addr: "nonsense" is no address`)
	assert.Contains(t, errs, `SSEBRIDGE_LOG_MAX_AGE: log.max_age: "7d" is no duration`)
	assert.Contains(t, errs, `--ops-addr: ops.addr: ":x" has no port`)
}

// TestFlagsShowTheDefaults: every flag that wins over a key exists, and its help names the key's default.
func TestFlagsShowTheDefaults(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addServerFlags(flags)
	count := 0
	flags.VisitAll(func(flag *pflag.Flag) {
		count++
		assert.Contains(t, keyOfFlag, flag.Name)
		if flag.Value.Type() == "string" {
			assert.NoError(t, flags.Set(flag.Name, flag.DefValue))
		}
	})
	assert.Len(t, keyOfFlag, count)
	loaded, err := loadConfig("", flags)
	require.NoError(t, err)
	want := config.Default()
	assert.Equal(t, want.Public, loaded.Public)
	assert.Equal(t, want.Internal, loaded.Internal)
	assert.Equal(t, want.Ops, loaded.Ops)
	assert.Equal(t, want.Log, loaded.Log)
}

// TestServeWithFile: a bridge in a process of its own takes what its file says, and an address in use points there.
func TestServeWithFile(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	occupied := b.public.listener.Addr().String()
	file := writeConfig(t, "ops:\n  addr: "+occupied+"\n")
	status, _, errs := command(t, "", "serve", "--config", file, "--data-dir", t.TempDir())
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, file+":2:9: ops.addr: listen tcp "+occupied)
	status, _, errs = command(t, "", "serve", "--dev", "--config", writeConfig(t, "ops:\n  addr: 10.0.0.1:1\n"))
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "config.yaml:2:9: ops.addr: \"10.0.0.1:1\": with open rules the bridge listens on the loopback interface only")

	file = writeConfig(t, "log: {stream: EVENTS}\nevents: {source: /shop}\nlogging: {format: json}\n")
	process := startProcess(t, t.TempDir(), nil, "--config", file)
	publishNumbered(t, "http://"+process.internal, "a", 0, 1)
	stream := subscribe(t, "http://"+process.public, topics("a")+"&since=earliest", "")
	assert.Contains(t, stream.nextEvent(t).data, `"source":"/shop"`)
}
