package jetstream

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

// account is an operator with an account and a user in it, as nsc makes them.
type account struct {
	operator *jwt.OperatorClaims
	public   string
	token    string
	system   string // the account that a server needs for itself
	sysToken string
	creds    string // file of the user
}

func newAccount(t *testing.T) account {
	t.Helper()
	keys, public := [3]nkeys.KeyPair{}, [3]string{}
	for i, create := range []func() (nkeys.KeyPair, error){nkeys.CreateOperator, nkeys.CreateAccount, nkeys.CreateUser} {
		var err error
		keys[i], err = create()
		require.NoError(t, err)
		public[i], err = keys[i].PublicKey()
		require.NoError(t, err)
	}
	claims := jwt.NewAccountClaims(public[1])
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	token, err := claims.Encode(keys[0])
	require.NoError(t, err)
	system, err := nkeys.CreateAccount()
	require.NoError(t, err)
	systemPublic, err := system.PublicKey()
	require.NoError(t, err)
	systemToken, err := jwt.NewAccountClaims(systemPublic).Encode(keys[0])
	require.NoError(t, err)
	user, err := jwt.NewUserClaims(public[2]).Encode(keys[1])
	require.NoError(t, err)
	seed, err := keys[2].Seed()
	require.NoError(t, err)
	text, err := jwt.FormatUserConfig(user, seed)
	require.NoError(t, err)
	operator, err := jwt.NewOperatorClaims(public[0]).Encode(keys[0])
	require.NoError(t, err)
	decoded, err := jwt.DecodeOperatorClaims(operator)
	require.NoError(t, err)
	return account{
		operator: decoded, public: public[1], token: token, system: systemPublic, sysToken: systemToken,
		creds: writeFile(t, "user.creds", text),
	}
}

func writeFile(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// startExternal starts a server with a port, TLS and an account, and returns its URL and the file of its root.
func startExternal(t *testing.T, account account, directory string, port int) (_ *server.Server, ca string) {
	t.Helper()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	certified.Close()
	certificate := certified.TLS.Certificates[0]
	resolver := &server.MemAccResolver{}
	require.NoError(t, resolver.Store(account.public, account.token))
	require.NoError(t, resolver.Store(account.system, account.sysToken))
	natsServer, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: directory,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, TLSTimeout: 5,
		TrustedOperators: []*jwt.OperatorClaims{account.operator}, AccountResolver: resolver, SystemAccount: account.system,
	})
	require.NoError(t, err)
	natsServer.Start()
	require.True(t, natsServer.ReadyForConnections(10*time.Second))
	t.Cleanup(func() {
		natsServer.Shutdown()
		natsServer.WaitForShutdown()
	})
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	return natsServer, writeFile(t, "ca.pem", root)
}

// TestExternal: the log works on a NATS server with TLS and credentials, and goes on when the server was restarted.
func TestExternal(t *testing.T) {
	t.Parallel()
	account, directory := newAccount(t), t.TempDir()
	natsServer, ca := startExternal(t, account, directory, server.RANDOM_PORT)
	external := External{URL: natsServer.ClientURL(), CredentialsFile: account.creds, CAFile: ca, Logger: quiet}
	log, err := Open(t.Context(), Config{Connect: external.Connect, Logger: quiet, CheckInterval: 100 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	sink := &recorder{}
	follow(t, log, 10, sink)
	places := storeMany(t, log, 0, 3)
	sink.awaitEvents(t, 3)
	assert.Equal(t, places, sink.places())

	port := natsServer.Addr().(*net.TCPAddr).Port
	natsServer.Shutdown()
	natsServer.WaitForShutdown()
	assert.ErrorIs(t, log.Ready(t.Context()), bridge.ErrLogUnavailable)
	startExternal(t, account, directory, port)
	require.Eventually(t, func() bool { return log.Ready(t.Context()) == nil }, 20*time.Second, 10*time.Millisecond)
	places = append(places, storeMany(t, log, 3, 3)...)
	sink.awaitEvents(t, 6)
	assert.Equal(t, places, sink.places())
}

// TestExternalRefuses: no server is trusted, and none lets us in, without proof.
func TestExternalRefuses(t *testing.T) {
	t.Parallel()
	account := newAccount(t)
	natsServer, ca := startExternal(t, account, t.TempDir(), server.RANDOM_PORT)
	right := External{URL: natsServer.ClientURL(), CredentialsFile: account.creds, CAFile: ca, Logger: quiet}
	conn, err := right.Connect("test")
	require.NoError(t, err)
	conn.Close()
	for _, test := range []struct {
		change func(*External)
		want   string
	}{
		{func(e *External) { e.CredentialsFile = "" }, "Authorization Violation"},
		{func(e *External) { e.CredentialsFile = newAccount(t).creds }, "Authorization Violation"},
		{func(e *External) { e.CAFile = "" }, "certificate"},
		{func(e *External) { e.CredentialsFile = "nowhere.creds" }, "nowhere.creds: no such file"},
		{func(e *External) { e.CAFile = "nowhere.pem" }, "nowhere.pem: no such file"},
		{func(e *External) { e.URL = "nats://127.0.0.1:1" }, "no servers available"},
	} {
		external := right
		test.change(&external)
		_, err := external.Connect("test")
		assert.ErrorContains(t, err, test.want)
	}
}
