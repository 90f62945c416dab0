package token

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Role is what the tokens of an issuer may be used for.
type Role string

// Roles of issuers.
const (
	RolePublish   Role = "publish"
	RoleSubscribe Role = "subscribe"
	RoleAdmin     Role = "admin"
)

// Leeway for clocks that differ.
const (
	DefaultLeeway = 30 * time.Second
	MaxLeeway     = 5 * time.Minute
)

// Issuer is somebody whose tokens count. Where neither JWKSFile nor JWKSURL is set, the keys are found by OpenID
// Connect Discovery 1.0, section 4.
//
// For the service-account tokens of a Kubernetes cluster, URL is the issuer that kubectl get --raw
// /.well-known/openid-configuration names, JWKSURL is https://kubernetes.default.svc/openid/v1/jwks, and CAFile and
// BearerFile are ca.crt and token in /var/run/secrets/kubernetes.io/serviceaccount.
type Issuer struct {
	Name       string        // unique; rules and logs know the issuer by it
	URL        string        // exactly the iss claim of its tokens
	JWKSFile   string        // path of its keys, a JWK Set (RFC 7517, section 5)
	JWKSURL    string        // address of its keys; https, or http to this machine
	CAFile     string        // PEM certificates that sign the server the keys come from; default: those of the system
	BearerFile string        // token shown when keys are fetched, such as a pod's own; read at each fetch, and sent to no other origin
	Audiences  []string      // a token names at least one of them as aud; at least one
	Roles      []Role        // what its tokens may be used for; at least one, and for each role one issuer of a URL
	Algorithms []string      // allowed signatures; default RS256, ES256 and EdDSA
	Leeway     time.Duration // how far its clock may be ahead (nbf, iat); default 30 s, up to 5 min. None for exp
}

// algorithms are the signatures that an issuer may be allowed. HMAC is missing on purpose, see the package comment.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

var defaultAlgorithms = []string{string(jose.RS256), string(jose.ES256), string(jose.EdDSA)}

// ConfigError is a setting of an issuer that cannot be used.
type ConfigError struct {
	Index   int    // of the issuer
	Field   string // name of the field of Issuer
	Item    int    // place in the field where it is a list, or -1
	Problem string // what is wrong and how to mend it
}

func (e *ConfigError) Error() string {
	if e.Item >= 0 {
		return fmt.Sprintf("issuer %d: %s[%d]: %s", e.Index, e.Field, e.Item, e.Problem)
	}
	return fmt.Sprintf("issuer %d: %s: %s", e.Index, e.Field, e.Problem)
}

// ConfigErrors is every setting that cannot be used.
type ConfigErrors []*ConfigError

func (e ConfigErrors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// CheckIssuers finds what is wrong with issuers, but for the files that they name. The error is [ConfigErrors].
func CheckIssuers(issuers []Issuer) error {
	if wrong := check(issuers); len(wrong) > 0 {
		return wrong
	}
	return nil
}

// nameForm is what an issuer may be called.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// check looks for mistakes in the settings alone; it touches neither files nor network.
func check(issuers []Issuer) ConfigErrors {
	var found ConfigErrors
	names, urls := map[string]int{}, map[issuerRole]int{}
	for i, issuer := range issuers {
		wrong := func(field string, item int, format string, args ...any) {
			found = append(found, &ConfigError{Index: i, Field: field, Item: item, Problem: fmt.Sprintf(format, args...)})
		}
		if first, taken := names[issuer.Name]; taken {
			wrong("Name", -1, "issuer %d has this name too: give each its own", first)
		}
		names[issuer.Name] = i
		issuer.checkSource(wrong)
		issuer.checkUse(wrong)
		for item, role := range issuer.Roles {
			key := issuerRole{issuer.URL, role}
			if first, taken := urls[key]; taken {
				wrong("Roles", item, "issuer %d has the same URL and role: a token's issuer and use lead to one entry", first)
			}
			urls[key] = i
		}
	}
	return found
}

type complaint func(field string, item int, format string, args ...any)

// checkSource looks at who the issuer is and where its keys are.
func (i *Issuer) checkSource(wrong complaint) {
	if !nameForm.MatchString(i.Name) {
		wrong("Name", -1, "%q must be 1 to 64 letters, digits, dots, underscores and hyphens, a letter or digit first", i.Name)
	}
	fetched := i.JWKSFile == ""
	switch {
	case i.URL == "":
		wrong("URL", -1, "is missing: set the iss claim of the issuer's tokens")
	case strings.ContainsFunc(i.URL, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		wrong("URL", -1, "%q holds a space or control character", i.URL)
	case i.JWKSFile == "" && i.JWKSURL == "":
		if err := checkFetchURL(i.URL); err != nil {
			wrong("URL", -1, "%s; for an issuer that is not reached under its name set JWKSURL or JWKSFile", err)
		}
	}
	if i.JWKSURL != "" {
		if err := checkFetchURL(i.JWKSURL); err != nil {
			wrong("JWKSURL", -1, "%s", err)
		}
	}
	if !fetched && i.JWKSURL != "" {
		wrong("JWKSFile", -1, "cannot be set together with JWKSURL: keys come from one place")
	}
	if !fetched && i.CAFile != "" {
		wrong("CAFile", -1, "is for keys that are fetched: leave it out with JWKSFile")
	}
	if !fetched && i.BearerFile != "" {
		wrong("BearerFile", -1, "is for keys that are fetched: leave it out with JWKSFile")
	}
}

// checkUse looks at what the issuer's tokens must be and may do.
func (i *Issuer) checkUse(wrong complaint) {
	if len(i.Audiences) == 0 {
		wrong("Audiences", -1, "is missing: set the aud claim that is meant for this bridge, or tokens for others count here")
	}
	for item, audience := range i.Audiences {
		if audience == "" {
			wrong("Audiences", item, "is empty")
		}
	}
	if len(i.Roles) == 0 {
		wrong("Roles", -1, "is missing: set publish, subscribe or both")
	}
	for item, role := range i.Roles {
		if role != RolePublish && role != RoleSubscribe && role != RoleAdmin {
			wrong("Roles", item, "%q is not a role: publish, subscribe or admin", role)
		}
	}
	for item, algorithm := range i.Algorithms {
		if slices.Contains(algorithms, jose.SignatureAlgorithm(algorithm)) {
			continue
		}
		switch {
		case strings.EqualFold(algorithm, "none"):
			wrong("Algorithms", item, "none is not a signature: anybody could make such a token")
		case strings.HasPrefix(algorithm, "HS"):
			wrong("Algorithms", item, "%s is refused, for whoever can check such a token can make one: sign with %s", algorithm, jose.ES256)
		default:
			wrong("Algorithms", item, "%q is not one of %s", algorithm, list(algorithms))
		}
	}
	if i.Leeway < 0 || i.Leeway > MaxLeeway {
		wrong("Leeway", -1, "%s is not between 0 and %s", i.Leeway, MaxLeeway)
	}
}

// checkFetchURL says whether keys may be fetched there: over TLS, or from this machine.
func checkFetchURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("is not a URL")
	}
	switch {
	case u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%q is not a full URL such as https://login.example.com", u.Redacted())
	case u.User != nil:
		return fmt.Errorf("%q holds a user or password: use BearerFile", u.Redacted())
	case u.Fragment != "":
		return fmt.Errorf("%q holds a fragment, which is never sent", text)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is not https: who can change keys on their way can make tokens (http is for localhost only)", text)
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// list joins names for a message.
func list[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return strings.Join(texts, ", ")
}
