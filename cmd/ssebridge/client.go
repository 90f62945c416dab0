package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// newPublishClient returns the HTTP client of a publisher: HTTP/2, in cleartext for http URLs, because streams in both
// directions need it. Roots are those of https URLs; nil is the system's.
func newPublishClient(roots *x509.CertPool) *http.Client {
	transport := newTransport(roots)
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(true)
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
	return &http.Client{Transport: transport}
}

// newReadClient returns the HTTP client of a reader: HTTP/2 or HTTP/1.1 for https URLs, HTTP/1.1 for the others. Roots are
// those of https URLs; nil is the system's.
func newReadClient(roots *x509.CertPool) *http.Client {
	transport := newTransport(roots)
	transport.Protocols.SetHTTP1(true)
	transport.Protocols.SetHTTP2(true)
	return &http.Client{Transport: transport}
}

// newTransport returns a transport that speaks no protocol yet.
func newTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		Protocols:       new(http.Protocols),
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
}

// caUsage is the help of --ca.
const caUsage = "PEM file with the roots with which an https bridge is verified, in place of the system's"

// baseURL checks the value of a flag and returns it without a slash at its end.
func baseURL(flag, addr string) (string, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("--%s %q: use a URL such as http://localhost:8081", flag, addr)
	}
	return strings.TrimSuffix(addr, "/"), nil
}

// readRoots reads the value of --ca. It returns nil, which stands for the system's roots, where there is none.
func readRoots(file, base string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // what tls.Config takes for the roots of the system
	}
	if !strings.HasPrefix(base, "https:") {
		return nil, fmt.Errorf("--ca: %s is in cleartext: use --addr https://…, or leave --ca out", base)
	}
	text, err := os.ReadFile(file) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca: %s has no certificate in PEM", file)
	}
	return roots, nil
}

// bearer adds a token to a request's header, if there is one.
func bearer(header http.Header, token string) {
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
}
