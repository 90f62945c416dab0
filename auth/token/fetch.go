package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	discoveryPath  = "/.well-known/openid-configuration" // OpenID Connect Discovery 1.0, section 4
	maxHeaderBytes = 64 << 10
)

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// fetcher gets the keys of an issuer from the network. Everything is looked up again each time: certificates and the
// token of a pod are replaced while the program runs, and an issuer may move its keys.
type fetcher struct {
	issuer Issuer
	dial   dialFunc // nil: the network
}

// keys fetches the key set and says for how long it is fresh.
func (f *fetcher) keys(ctx context.Context) (*keySet, time.Duration, error) {
	client, err := f.client()
	if err != nil {
		return nil, 0, err
	}
	address := f.issuer.JWKSURL
	if address == "" {
		if address, err = f.discover(ctx, client); err != nil {
			return nil, 0, err
		}
	}
	body, header, err := f.get(ctx, client, address)
	if err != nil {
		return nil, 0, err
	}
	set, err := parseKeys(body)
	if err != nil {
		return nil, 0, fmt.Errorf("%s %w", address, err)
	}
	return set, freshness(header), nil
}

// discover asks the issuer where its keys are.
func (f *fetcher) discover(ctx context.Context, client *http.Client) (string, error) {
	address := strings.TrimSuffix(f.issuer.URL, "/") + discoveryPath
	body, _, err := f.get(ctx, client, address)
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"` //nolint:tagliatelle // named by the specification
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return "", fmt.Errorf("%s is not a JSON document with issuer and jwks_uri", address)
	}
	if document.Issuer != f.issuer.URL {
		return "", fmt.Errorf("%s is of the issuer %q and not of %q: correct the URL", address, document.Issuer, f.issuer.URL)
	}
	if err := checkFetchURL(document.Keys); err != nil {
		return "", fmt.Errorf("%s: jwks_uri %w", address, err)
	}
	return document.Keys, nil
}

// get fetches one document.
func (f *fetcher) get(ctx context.Context, client *http.Client, address string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if f.issuer.BearerFile != "" && f.trusts(request.URL) {
		bearer, err := readBearer(f.issuer.BearerFile)
		if err != nil {
			return nil, nil, err
		}
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }() // was read as far as it matters
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answered %d %s%s", address, response.StatusCode, http.StatusText(response.StatusCode), f.advice(request))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxSetBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", address, err)
	}
	if len(body) > maxSetBytes {
		return nil, nil, fmt.Errorf("%s is larger than %d bytes", address, maxSetBytes)
	}
	return body, response.Header, nil
}

// trusts says whether the bearer token may be shown there: only to the origin that the operator has named.
func (f *fetcher) trusts(address *url.URL) bool {
	named := f.issuer.JWKSURL
	if named == "" {
		named = f.issuer.URL
	}
	origin, err := url.Parse(named)
	return err == nil && origin.Scheme == address.Scheme && origin.Host == address.Host
}

func (f *fetcher) advice(request *http.Request) string {
	if f.issuer.BearerFile != "" && request.Header.Get("Authorization") == "" {
		return ", without the token of BearerFile, which goes to the origin of the issuer's URL only: set JWKSURL"
	}
	return ""
}

// client makes a client for one fetch. It follows no redirect, which would lead to an address nobody has checked, and
// leaves no connection behind.
func (f *fetcher) client() (*http.Client, error) {
	roots, err := f.roots()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            f.dial,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// roots are the certificates of CAFile, or nil for those of the system.
func (f *fetcher) roots() (*x509.CertPool, error) {
	if f.issuer.CAFile == "" {
		return nil, nil //nolint:nilnil // what tls.Config takes for the roots of the system
	}
	pem, err := os.ReadFile(f.issuer.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", f.issuer.CAFile)
	}
	return roots, nil
}

func readBearer(path string) (string, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", err
	}
	bearer := strings.TrimSpace(string(text))
	if bearer == "" || !isToken68(bearer) {
		return "", errors.New(path + " holds no bearer token")
	}
	return bearer, nil
}

// freshness is for how long an answer may be used (RFC 9111, section 4.2.1), within bounds.
func freshness(header http.Header) time.Duration {
	fresh := defaultFresh
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 32); err == nil {
				fresh = time.Duration(seconds) * time.Second
			}
		}
	}
	return min(max(fresh, minFresh), maxFresh)
}
