package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ssebridge/ssebridge/bridge/telemetry"
	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

// certificatePoll is how often the files of certificates are read. Their content counts, not their times or names: in
// Kubernetes a mounted secret changes by a link to its directory.
const certificatePoll = 2 * time.Second

// certificates are those of the listeners that have one, by the listener's section of the configuration.
type certificates map[string]*certificate

// certificate is what one listener shows of itself. When its files change they are read again: new connections get the
// new certificate, and open ones go on.
type certificate struct {
	listener string
	files    config.TLS
	logger   *slog.Logger

	current atomic.Pointer[tls.Certificate]

	// Owned by openCertificates, then by watch.
	seen   [sha256.Size]byte // what was read last, whether it was taken or not
	warned string            // what was said last against the current certificate
}

// openCertificates reads the certificates of all listeners. Its errors point into the configuration.
func openCertificates(c *config.Config, logger *slog.Logger) (certificates, error) {
	opened := certificates{}
	var errs []error
	for listener, files := range map[string]config.TLS{
		"public": c.Public.TLS, "internal": c.Internal.TLS, "ops": c.Ops.TLS,
	} {
		if files == (config.TLS{}) {
			continue
		}
		certificate := &certificate{listener: listener, files: files, logger: logger}
		err := certificate.read()
		if wrong := (*fileError)(nil); errors.As(err, &wrong) {
			errs = append(errs, c.At(listener+".tls."+wrong.key, wrong.err))
			continue
		}
		opened[listener] = certificate
	}
	return opened, errors.Join(errs...)
}

// warnings say what clients will not like of certificates that can be served all the same.
func (all certificates) warnings(c *config.Config) (warnings []error) {
	for listener, certificate := range all {
		if warning := certificate.warning(); warning != "" {
			warnings = append(warnings, c.At(listener+".tls.cert", errors.New("warning: "+warning)))
		}
	}
	return warnings
}

// observe shows when the certificates expire.
func (all certificates) observe(to *telemetry.Telemetry) {
	for listener, certificate := range all {
		to.ObserveCertificate(listener, func() time.Time { return certificate.current.Load().Leaf.NotAfter })
	}
}

// watch reads the files of all certificates again and again until ctx ends.
func (all certificates) watch(ctx context.Context) {
	var group sync.WaitGroup
	for _, certificate := range all {
		group.Go(func() { certificate.watch(ctx) })
	}
	group.Wait()
}

func (c *certificate) watch(ctx context.Context) {
	ticker := time.NewTicker(certificatePoll)
	defer ticker.Stop()
	for {
		c.warn()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.read(); err != nil {
			c.logger.Warn("TLS certificate not read again, the one of before stays", "listener", c.listener, "error", err)
		}
	}
}

// read takes what the files hold, if that is not what was read last. Nothing is taken unless all is right, so that files
// which are being replaced do no harm. An error is a fileError, and comes once.
func (c *certificate) read() error {
	chain, key, err := c.readFiles()
	seen := sha256.Sum256(fmt.Appendf(nil, "%d %s%s %v", len(chain), chain, key, err))
	if seen == c.seen {
		return nil
	}
	c.seen = seen
	if err != nil {
		return err
	}
	pair, err := parsePair(c.files, chain, key)
	if err != nil {
		return err
	}
	c.current.Store(pair)
	c.logger.Info("TLS certificate read", "listener", c.listener, "names", strings.Join(namesOf(pair.Leaf), " "),
		"expires", pair.Leaf.NotAfter)
	return nil
}

func (c *certificate) readFiles() (chain, key []byte, err error) {
	if chain, err = os.ReadFile(c.files.Cert); err != nil {
		return nil, nil, &fileError{"cert", fmt.Errorf("%w: name a PEM file that the bridge can read", err)}
	}
	if key, err = os.ReadFile(c.files.Key); err != nil {
		return nil, nil, &fileError{"key", fmt.Errorf("%w: name a PEM file that the bridge can read", err)}
	}
	return chain, key, nil
}

// warn says once what is wrong with the current certificate, also where it was right when it was read.
func (c *certificate) warn() {
	warning := c.warning()
	if warning != "" && warning != c.warned {
		c.logger.Warn("TLS certificate that clients refuse", "listener", c.listener, "problem", warning)
	}
	c.warned = warning
}

func (c *certificate) warning() string {
	leaf := c.current.Load().Leaf
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		return fmt.Sprintf("the certificate in %s has expired on %s: renew it", c.files.Cert, leaf.NotAfter.Format(time.RFC1123))
	case now.Before(leaf.NotBefore):
		return fmt.Sprintf("the certificate in %s is not valid before %s: check the clock, or wait", c.files.Cert, leaf.NotBefore.Format(time.RFC1123))
	case len(namesOf(leaf)) == 0:
		return fmt.Sprintf("the certificate in %s names no host: make one with the host as subjectAltName", c.files.Cert)
	}
	return ""
}

// namesOf returns the hosts that a certificate is for. The subject's common name does not count (RFC 9525, section 2).
func namesOf(leaf *x509.Certificate) []string {
	names := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// config returns what a listener is served with: TLS 1.2 and 1.3, as RFC 9325, section 3.1.1, asks for. The server adds
// the protocols that it speaks.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// fileError says which of the two files is wrong.
type fileError struct {
	key string // cert or key
	err error
}

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// parsePair takes a chain of certificates, the listener's own first, and its private key.
func parsePair(files config.TLS, chainPEM, keyPEM []byte) (*tls.Certificate, error) {
	chain, err := parseChain(chainPEM)
	if err != nil {
		return nil, &fileError{"cert", fmt.Errorf("%s %w", files.Cert, err)}
	}
	if err := checkKey(keyPEM); err != nil {
		return nil, &fileError{"key", fmt.Errorf("%s %w", files.Key, err)}
	}
	pair, err := tls.X509KeyPair(chainPEM, keyPEM)
	if err == nil {
		return &pair, nil
	}
	for i, other := range chain[1:] {
		if _, err := tls.X509KeyPair(pem.EncodeToMemory(other), keyPEM); err == nil {
			return nil, &fileError{"cert", fmt.Errorf("%s has the certificate of the key as number %d: put it first, its issuers behind it", files.Cert, i+2)}
		}
	}
	return nil, &fileError{"key", fmt.Errorf("%s and the certificate in %s are no pair (%w): name files that were made together", files.Key, files.Cert, err)}
}

var beginPEM = []byte("-----BEGIN ")

// parseChain refuses all that is cut off or malformed, which the decoder would leave out.
func parseChain(text []byte) (chain []*pem.Block, err error) {
	blocks := bytes.Count(text, beginPEM)
	if blocks == 0 {
		return nil, errors.New("has no certificate in PEM: expected a line -----BEGIN CERTIFICATE-----")
	}
	for n := 1; n <= blocks; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, fmt.Errorf("is cut off or no PEM at block %d of %d: write it again", n, blocks)
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, errors.New("has a private key: move it to the file of tls.key, and keep certificates only")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("has a %s as block %d: keep certificates only", block.Type, n)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("has no valid certificate as block %d (%w): write it again", n, err)
		}
		chain = append(chain, block)
	}
	return chain, nil
}

// checkKey finds out what is in the way of reading a key.
func checkKey(text []byte) error {
	for rest := text; ; {
		block, after := pem.Decode(rest)
		switch {
		case block == nil && bytes.Contains(rest, beginPEM):
			return errors.New("is cut off or no PEM: write it again")
		case block == nil:
			return errors.New("has no private key in PEM: expected a line -----BEGIN PRIVATE KEY-----")
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return errors.New("is protected by a passphrase: write it without, by openssl pkey -in OLD -out NEW")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil
		}
		rest = after
	}
}
