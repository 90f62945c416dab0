package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

// authority signs certificates of a test.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	a.certificate = a.sign(t, a.key, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// sign signs what is filled in, valid from an hour ago for a day unless it says otherwise.
func (a *authority) sign(t *testing.T, key crypto.Signer, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template.SerialNumber = serial
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	parent := a.certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	require.NoError(t, err)
	signed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return signed
}

// issue returns a certificate for the loopback interface, changed as wanted, and its key in PEM.
func (a *authority) issue(t *testing.T, change func(*x509.Certificate)) (chain, key string) {
	t.Helper()
	signer := newKey(t)
	template := &x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if change != nil {
		change(template)
	}
	return certificatePEM(a.sign(t, signer, template)), keyPEM(t, signer)
}

func certificatePEM(certificate *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
}

func keyPEM(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// secretDir is a directory as Kubernetes mounts a secret: its files lead over one link, which is replaced as a whole.
type secretDir string

func (d secretDir) files() config.TLS {
	return config.TLS{Cert: filepath.Join(string(d), "tls.crt"), Key: filepath.Join(string(d), "tls.key")}
}

func (d secretDir) put(t *testing.T, chain, key string) {
	t.Helper()
	version, err := os.MkdirTemp(string(d), "..")
	require.NoError(t, err)
	for name, text := range map[string]string{"tls.crt": chain, "tls.key": key} {
		require.NoError(t, os.WriteFile(filepath.Join(version, name), []byte(text), 0o600))
		if _, err := os.Lstat(filepath.Join(string(d), name)); err != nil {
			require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(string(d), name)))
		}
	}
	next := filepath.Join(string(d), "..next")
	require.NoError(t, os.Symlink(filepath.Base(version), next))
	require.NoError(t, os.Rename(next, filepath.Join(string(d), "..data")))
}

// TestWrongCertificateFiles: each mistake is found by config check, and by serve before it opens anything, with the place
// in the configuration, the file, and how to mend it.
func TestWrongCertificateFiles(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	chain, key := ca.issue(t, nil)
	_, otherKey := ca.issue(t, nil)
	root := certificatePEM(ca.certificate)
	damaged := certificatePEM(&x509.Certificate{Raw: ca.certificate.Raw[:len(ca.certificate.Raw)-9]})
	const certAt, keyAt = ":3:11: internal.tls.cert: ", ":4:10: internal.tls.key: "
	for _, test := range []struct {
		name, chain, key string
		at, file, want   string
	}{
		{"no certificate file", "-", key, certAt, "crt.pem", ": no such file or directory: name a PEM file that the bridge can read"},
		{"no key file", chain, "-", keyAt, "key.pem", ": no such file or directory: name a PEM file that the bridge can read"},
		{"certificate is a directory", "/", key, certAt, "crt.pem", ": is a directory: name a PEM file"},
		{"key is a directory", chain, "/", keyAt, "key.pem", ": is a directory: name a PEM file"},
		{"empty certificate", "", key, certAt, "crt.pem", " has no certificate in PEM: expected a line -----BEGIN CERTIFICATE-----"},
		{"DER", string(ca.certificate.Raw), key, certAt, "crt.pem", " has no certificate in PEM"},
		{"swapped", key, chain, certAt, "crt.pem", " has a private key: move it to the file of tls.key"},
		{"key behind the certificate", chain + key, key, certAt, "crt.pem", " has a private key"},
		{"request", "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n", key, certAt, "crt.pem", " has a CERTIFICATE REQUEST as block 1: keep certificates only"},
		{"certificate cut off", chain[:len(chain)/2], key, certAt, "crt.pem", " is cut off or no PEM at block 1 of 1: write it again"},
		{"chain cut off", chain + root[:len(root)/2], key, certAt, "crt.pem", " is cut off or no PEM at block 2 of 2: write it again"},
		{"malformed inside", chain + strings.Replace(root, "M", "!", 1) + root, key, certAt, "crt.pem", " is cut off or no PEM at block 3 of 3: write it again"},
		{"damaged certificate", chain + damaged, key, certAt, "crt.pem", " has no valid certificate as block 2 (x509: "},
		{"chain in the wrong order", root + chain, key, certAt, "crt.pem", " has the certificate of the key as number 2: put it first, its issuers behind it"},
		{"empty key", chain, "", keyAt, "key.pem", " has no private key in PEM: expected a line -----BEGIN PRIVATE KEY-----"},
		{"certificate as key", chain, chain, keyAt, "key.pem", " has no private key in PEM"},
		{"key cut off", chain, key[:len(key)/2], keyAt, "key.pem", " is cut off or no PEM: write it again"},
		{"no key inside", chain, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", keyAt, "key.pem", " and the certificate in CERT are no pair (tls: failed to parse private key)"},
		{"passphrase", chain, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", keyAt, "key.pem", " is protected by a passphrase: write it without, by openssl pkey"},
		{"passphrase of old", chain, "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,0011\n\nAAAA\n-----END EC PRIVATE KEY-----\n", keyAt, "key.pem", " is protected by a passphrase"},
		{"key of another", chain, otherKey, keyAt, "key.pem", " and the certificate in CERT are no pair (tls: private key does not match public key): name files that were made together"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range map[string]string{"crt.pem": test.chain, "key.pem": test.key} {
				switch path := filepath.Join(dir, name); text {
				case "-":
				case "/":
					require.NoError(t, os.Mkdir(path, 0o700))
				default:
					require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				}
			}
			file := writeConfig(t, "internal:\n  tls:\n    cert: "+filepath.Join(dir, "crt.pem")+"\n    key: "+filepath.Join(dir, "key.pem")+"\n")
			status, _, errs := command(t, "", "config", "check", file)
			assert.Equal(t, 1, status)
			assert.Contains(t, errs, file+test.at)
			assert.Contains(t, errs, filepath.Join(dir, test.file)+strings.ReplaceAll(test.want, "CERT ", filepath.Join(dir, "crt.pem ")))
			served, _, servedErrs := command(t, "", "serve", "--config", file, "--data-dir", filepath.Join(dir, "data"))
			assert.Equal(t, 1, served)
			assert.Equal(t, "ssebridge: "+errs, servedErrs)
			assert.NoDirExists(t, filepath.Join(dir, "data"))
		})
	}
}

// TestDoubtfulCertificates are served, and config check and serve warn of them.
func TestDoubtfulCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, test := range []struct {
		name, want string
		change     func(*x509.Certificate)
	}{
		{"expired", " has expired on ", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }},
		{"not yet valid", " is not valid before ", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }},
		{"no names", " names no host: make one with the host as subjectAltName", func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses, c.Subject.CommonName = nil, nil, "localhost"
		}},
		{"good", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := secretDir(t.TempDir())
			chain, key := ca.issue(t, test.change)
			dir.put(t, chain+certificatePEM(ca.certificate), key)
			file := writeConfig(t, "public:\n  tls:\n    cert: "+dir.files().Cert+"\n    key: "+dir.files().Key+"\n")
			status, out, errs := command(t, "", "config", "check", file)
			assert.Zero(t, status, errs)
			assert.Equal(t, file+": ok\n", out)

			var logs output
			options := testOptions(t)
			options.config.Public.TLS = dir.files()
			p, err := start(t.Context(), options, slog.New(slog.NewTextHandler(&logs, nil)))
			require.NoError(t, err)
			p.shutdown()
			if test.want == "" {
				assert.Empty(t, errs)
				assert.NotContains(t, logs.String(), "level=WARN")
				return
			}
			assert.Contains(t, errs, file+":3:11: public.tls.cert: warning: the certificate in "+dir.files().Cert+test.want)
			assert.Equal(t, 1, strings.Count(logs.String(), `level=WARN msg="TLS certificate that clients refuse" listener=public`), logs.String())
			assert.Contains(t, logs.String(), test.want)
		})
	}
}

// TestWatchCertificate: content counts, what is wrong is said once for each change, and the certificate of before stays.
func TestWatchCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		chain, key := ca.issue(t, nil)
		dir := secretDir(t.TempDir())
		dir.put(t, chain, key)
		var logs output
		c := config.Config{Public: config.Public{TLS: dir.files()}}
		all, err := openCertificates(&c, slog.New(slog.NewTextHandler(&logs, nil)))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			all.watch(ctx)
			close(ended)
		}()
		served := func() string {
			got, err := all["public"].config().GetCertificate(nil)
			require.NoError(t, err)
			return certificatePEM(got.Leaf)
		}
		later := func(polls int) string {
			synctest.Wait()
			before := len(logs.String())
			time.Sleep(time.Duration(polls) * certificatePoll)
			synctest.Wait()
			return logs.String()[before:]
		}
		assert.Empty(t, later(5))

		dir.put(t, chain, key)
		assert.Empty(t, later(5), "other files with the same content")

		second, secondKey := ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"second.example"} })
		dir.put(t, second, key)
		said := later(5)
		assert.Equal(t, 1, strings.Count(said, "\n"), said)
		assert.Contains(t, said, `level=WARN msg="TLS certificate not read again, the one of before stays" listener=public`)
		assert.Contains(t, said, "are no pair")
		assert.Equal(t, chain, served())

		dir.put(t, second[:len(second)/2], secondKey)
		said = later(5)
		assert.Equal(t, 1, strings.Count(said, "\n"), said)
		assert.Contains(t, said, "cut off")
		assert.Equal(t, chain, served())

		require.NoError(t, os.Remove(filepath.Join(string(dir), "..data")))
		said = later(5)
		assert.Equal(t, 1, strings.Count(said, "\n"), said)
		assert.Contains(t, said, "no such file")
		assert.Equal(t, chain, served())

		dir.put(t, second, secondKey)
		said = later(1)
		assert.Equal(t, 1, strings.Count(said, "\n"), said)
		assert.Contains(t, said, `level=INFO msg="TLS certificate read" listener=public names="second.example 127.0.0.1" expires=`)
		assert.Equal(t, second, served())
		assert.Empty(t, later(5))

		cancel()
		<-ended
	})
}

// TestCertificateExpiresWhileServed is said once, though nothing has changed.
func TestCertificateExpiresWhileServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := secretDir(t.TempDir())
		chain, key := newAuthority(t).issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) })
		dir.put(t, chain, key)
		var logs output
		c := config.Config{Ops: config.Listener{TLS: dir.files()}}
		all, err := openCertificates(&c, slog.New(slog.NewTextHandler(&logs, nil)))
		require.NoError(t, err)
		go all.watch(t.Context())
		time.Sleep(time.Hour - time.Minute)
		synctest.Wait()
		assert.NotContains(t, logs.String(), "WARN")
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, 1, strings.Count(logs.String(), "has expired on"), logs.String())
	})
}

// FuzzCertificateFiles: whatever the files hold, there is a usable pair or an error that names one of them.
func FuzzCertificateFiles(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN -----BEGIN CERTIFICATE-----\n"), []byte("-----BEGIN X-----\n-----END X-----\n-----BEGIN "))
	f.Add([]byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		pair, err := parsePair(config.TLS{Cert: "crt", Key: "key"}, chain, key)
		if err != nil {
			wrong := (*fileError)(nil)
			require.ErrorAs(t, err, &wrong)
			require.Contains(t, []string{"cert", "key"}, wrong.key)
			return
		}
		require.NotNil(t, pair.Leaf)
		require.NotNil(t, pair.PrivateKey)
	})
}
