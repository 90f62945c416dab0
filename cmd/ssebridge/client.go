package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// newPublishClient returns the HTTP client of a publisher: HTTP/2, in cleartext for http URLs, because streams in both
// directions need it.
func newPublishClient() *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		Proxy:     http.ProxyFromEnvironment,
		Protocols: &protocols,
		HTTP2:     &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}}
}

// baseURL checks the value of --addr and returns it without a slash at its end.
func baseURL(addr string) (string, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("--addr %q: use a URL such as http://localhost:8081", addr)
	}
	return strings.TrimSuffix(addr, "/"), nil
}

// bearer adds a token to a request's header, if there is one.
func bearer(header http.Header, token string) {
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
}
