package deploy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// edit replaces a text that a configuration must hold.
type edit struct{ old, new string }

// proxy is one of the reverse proxies.
type proxy struct {
	file    string
	program string
	// edits move the proxy to this machine: its own address, the bridge's, and where the certificate is.
	edits func(address string, b *bridgeProcess, dir string) []edit
	// arguments run the proxy in the foreground.
	arguments func(config, dir string) []string
}

var proxies = map[string]proxy{
	"nginx": {
		file: "nginx.conf", program: "nginx",
		edits: func(address string, b *bridgeProcess, dir string) []edit {
			return []edit{
				{"listen 443 ", "listen " + address + " "},
				{"server 127.0.0.1:8080;", "server " + b.public + ";"},
				{"/etc/nginx/tls/", dir + "/"},
				// What somebody's own http block may say; the server block must not inherit it.
				{"http {", "http {\nproxy_read_timeout 2s;\ngzip on;\ngzip_types *;\ngzip_min_length 1;\ngzip_proxied any;\n" +
					"client_body_temp_path " + dir + "/body;\nproxy_temp_path " + dir + "/proxy;\nfastcgi_temp_path " + dir + "/fastcgi;\n" +
					"uwsgi_temp_path " + dir + "/uwsgi;\nscgi_temp_path " + dir + "/scgi;\n"},
			}
		},
		arguments: func(config, dir string) []string {
			return []string{"-c", config, "-p", dir, "-e", "stderr", "-g", "daemon off; error_log stderr; pid " + dir + "/nginx.pid;"}
		},
	},
	"haproxy": {
		file: "haproxy.cfg", program: "haproxy",
		edits: func(address string, b *bridgeProcess, dir string) []edit {
			_, opsPort, _ := strings.Cut(b.ops, ":")
			return []edit{
				{"bind :443 ", "bind " + address + " "},
				{"server bridge 127.0.0.1:8080 check port 9090 ", "server bridge " + b.public + " check port " + opsPort + " "},
				{"/etc/haproxy/tls.pem", dir + "/tls.pem"},
				{"maxconn 30000", "maxconn 100"}, // a test may open few files
			}
		},
		arguments: func(config, _ string) []string { return []string{"-db", "-f", config} },
	},
}

// start runs the proxy before a bridge, with further edits, and returns its URL and a browser's client.
func (p *proxy) start(t *testing.T, b *bridgeProcess, further ...edit) (string, *http.Client) {
	t.Helper()
	content, err := os.ReadFile(p.file)
	require.NoError(t, err)
	config, dir, address := string(content), t.TempDir(), freeAddress(t)
	client := writeCertificate(t, dir)
	for _, e := range append(p.edits(address, b, dir), further...) {
		require.Contains(t, config, e.old, p.file)
		config = strings.ReplaceAll(config, e.old, e.new)
	}
	path := filepath.Join(dir, p.file)
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
	startProcess(t, exec.Command(installed(t, p.program), p.arguments(path, dir)...))
	require.Eventually(t, func() bool {
		response, err := client.Get("https://" + address + "/v1/events")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusBadRequest // the bridge's, for want of a topic
	}, 20*time.Second, 50*time.Millisecond, "%s answers", p.program)
	return "https://" + address, client
}

// installed finds a program. Without it the test is skipped, but never in CI.
func installed(t *testing.T, program string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: run make proxies", program)
	}
	t.Skipf("what readers see through %s is not tested: it is not installed: run make proxies", program)
	return ""
}

// writeCertificate writes a certificate for 127.0.0.1 in the form that each proxy reads, and returns a client that
// trusts it and speaks HTTP/2, as browsers do.
func writeCertificate(t *testing.T, dir string) *http.Client {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	require.NoError(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": private, "tls.pem": append(private, certificate...)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true,
		DisableCompression: true, // a test asks for it itself
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestProxies: what readers see through each reverse proxy.
func TestProxies(t *testing.T) {
	t.Parallel()
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("events arrive at once", func(t *testing.T) {
				t.Parallel()
				testPrompt(t, p)
			})
			t.Run("silence is no end", func(t *testing.T) {
				t.Parallel()
				testSilence(t, p)
			})
			t.Run("a dead bridge is noticed", func(t *testing.T) {
				t.Parallel()
				testStall(t, p)
			})
			t.Run("a browser survives a restart", func(t *testing.T) {
				t.Parallel()
				testRestart(t, p)
			})
		})
	}
}

func testPrompt(t *testing.T, p proxy) {
	b := startBridge(t, t.TempDir(), nil, unchanged)
	base, client := p.start(t, b)
	s := subscribe(t, client, base, "topic=a", http.Header{"Accept-Encoding": {"gzip, br"}})
	assert.Equal(t, "HTTP/2.0", s.proto)
	assert.Equal(t, "text/event-stream", s.header.Get("Content-Type"))
	assert.Equal(t, "no-store, no-transform", s.header.Get("Cache-Control"))
	assert.Empty(t, s.header.Get("Content-Encoding"), "compressing holds events back")
	s.named(t, "ssebridge.open")
	var cursors []string
	for n := range 20 {
		begun := time.Now()
		cursors = append(cursors, publish(t, b, "a", n))
		assert.Equal(t, cursors[n], s.event(t).LastEventID)
		assert.Less(t, time.Since(begun), time.Second, "event %d", n)
	}
	s.close()
	require.Eventually(t, func() bool { return readers(t, b) == 0 }, 10*time.Second, 20*time.Millisecond, "a browser that goes is not kept")

	again := subscribe(t, client, base, "topic=a", http.Header{"Last-Event-Id": {cursors[9]}})
	for _, cursor := range cursors[10:] {
		assert.Equal(t, cursor, again.event(t).LastEventID, "resumed through the proxy")
	}
	status, problem := fetchBy(t, client, base+"/v1/events?topic=a//b", "")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, problem, "segment 2", "the bridge's refusals pass")
	status, _ = fetchBy(t, client, base+"/", "")
	assert.Equal(t, http.StatusNotFound, status, "nothing but the contract")
}

func readers(t *testing.T, b *bridgeProcess) int {
	t.Helper()
	var state struct{ Readers int }
	_, body := fetch("http://" + b.ops + "/readyz?verbose")
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	return state.Readers
}

// testSilence: the only thing that keeps a quiet stream alive is the heartbeat. With a third of the written time limit,
// which a heartbeat still meets, two of them take longer than the limit.
func testSilence(t *testing.T, p proxy) {
	const limit = 20 * time.Second
	b := startBridge(t, t.TempDir(), nil, unchanged)
	base, client := p.start(t, b, edit{" 60s", " " + limit.String()})
	s := subscribe(t, client, base, "topic=a", nil)
	s.named(t, "ssebridge.open")
	begun := time.Now()
	s.named(t, "ssebridge.heartbeat")
	s.named(t, "ssebridge.heartbeat")
	assert.Greater(t, time.Since(begun), limit)
	assert.Equal(t, publish(t, b, "a", 1), s.event(t).LastEventID)
}

// testStall: the time limit that is written is the one that counts. A stream on which nothing comes for longer ends, and
// the browser connects again.
func testStall(t *testing.T, p proxy) {
	b := startBridge(t, t.TempDir(), nil, unchanged)
	base, client := p.start(t, b, edit{" 60s", " 3s"})
	s := subscribe(t, client, base, "topic=a", nil)
	s.named(t, "ssebridge.open")
	begun := time.Now()
	s.ended(t)
	assert.InDelta(t, 3, time.Since(begun).Seconds(), 2)
}

// testRestart: while no bridge is there, an EventSource gets an answer after which it comes back, and others the truth.
func testRestart(t *testing.T, p proxy) {
	dir := t.TempDir()
	b := startBridge(t, dir, nil, unchanged)
	base, client := p.start(t, b)
	s := subscribe(t, client, base, "topic=a", nil)
	s.named(t, "ssebridge.open")
	cursor := publish(t, b, "a", 1)
	require.Equal(t, cursor, s.event(t).LastEventID)
	require.NoError(t, b.stop())
	s.ended(t)

	waits := map[int]bool{}
	for range 40 {
		request, err := http.NewRequest(http.MethodGet, base+"/v1/events?topic=a", nil)
		require.NoError(t, err)
		request.Header.Set("Accept", "text/event-stream")
		request.Header.Set("Origin", "https://shop.example.com")
		response, err := client.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode, "after 502, 503 and 504 an EventSource gives up")
		require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
		require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		require.Equal(t, "https://shop.example.com", response.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "true", response.Header.Get("Access-Control-Allow-Credentials"))
		var wait int
		_, err = fmt.Sscanf(string(body), "retry: %d\nevent: ssebridge.reconnect\ndata: {\"reason\":\"unavailable\"}\n\n", &wait)
		require.NoError(t, err, "%q", body)
		assert.True(t, wait >= 1000 && wait <= 5000, "%d", wait)
		waits[wait] = true
	}
	assert.Greater(t, len(waits), 1, "not all readers return at once")
	status, _ := fetchBy(t, client, base+"/v1/events?topic=a", "application/json")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	status, _ = fetchBy(t, client, base+"/v1/tickets", "")
	assert.GreaterOrEqual(t, status, http.StatusBadGateway, "only streams are told to come back")

	b = startBridge(t, dir, b, unchanged)
	require.Eventually(t, func() bool {
		status, _ := fetchBy(t, client, base+"/v1/events", "")
		return status == http.StatusBadRequest
	}, 20*time.Second, 100*time.Millisecond, "the proxy finds the bridge again")
	s = subscribe(t, client, base, "topic=a", http.Header{"Last-Event-Id": {cursor}})
	assert.Equal(t, publish(t, b, "a", 2), s.event(t).LastEventID)
}

func fetchBy(t *testing.T, client *http.Client, url, accept string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}
