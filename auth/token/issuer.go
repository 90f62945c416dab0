package token

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
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
)

// MaxLeeway is how much of a difference between clocks is let pass at most.
const MaxLeeway = 5 * time.Minute

// Issuer is somebody whose tokens count. Where neither JWKSFile nor JWKSURL is set, the keys are found by OpenID
// Connect Discovery 1.0, section 4. The tags are the keys of a configuration, by which errors name what is wrong.
//
// For the service-account tokens of a Kubernetes cluster, URL is the issuer that kubectl get --raw
// /.well-known/openid-configuration names, JWKSURL is https://kubernetes.default.svc/openid/v1/jwks, and CAFile and
// BearerFile are ca.crt and token in /var/run/secrets/kubernetes.io/serviceaccount.
type Issuer struct {
	Name       string        `yaml:"name"`        // unique; rules know the issuer by it, as auth.issuer, and so do logs
	URL        string        `yaml:"url"`         // exactly the iss claim of its tokens
	JWKSFile   string        `yaml:"jwks_file"`   // path of its keys, a JWK Set (RFC 7517, section 5)
	JWKSURL    string        `yaml:"jwks_url"`    // address of its keys; https, or http to this machine
	CAFile     string        `yaml:"ca_file"`     // PEM certificates that sign the server the keys come from; default: those of the system
	BearerFile string        `yaml:"bearer_file"` // token shown when keys are fetched, such as a pod's own; read at each fetch, and sent to no other origin
	Audiences  []string      `yaml:"audiences"`   // a token names at least one of them as aud; at least one
	Roles      []Role        `yaml:"roles"`       // what its tokens may be used for; at least one, and for each role one issuer of a URL
	Algorithms []string      `yaml:"algorithms"`  // allowed signatures; at least one
	Leeway     time.Duration `yaml:"leeway"`      // how far its clock may be ahead (nbf, iat), up to MaxLeeway. None for exp
}

// DefaultIssuer returns what holds where nothing else is said of an issuer.
func DefaultIssuer() Issuer {
	return Issuer{
		Algorithms: []string{string(jose.RS256), string(jose.ES256), string(jose.EdDSA)},
		Leeway:     30 * time.Second,
	}
}

var roles = []Role{RolePublish, RoleSubscribe}

// algorithms are the signatures that an issuer may be allowed. HMAC is missing on purpose, see the package comment.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// ConfigError is a setting of an issuer that cannot be used.
type ConfigError struct {
	Index   int    // of the issuer
	Field   string // by its key, such as jwks_url or roles[1]
	Problem string // what is wrong and how to mend it
}

// Key returns where in a configuration the setting is, such as issuers[0].jwks_url.
func (e *ConfigError) Key() string { return fmt.Sprintf("issuers[%d].%s", e.Index, e.Field) }

func (e *ConfigError) Error() string { return e.Key() + ": " + e.Problem }

// ConfigErrors is every setting that cannot be used.
type ConfigErrors []*ConfigError

func (e ConfigErrors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// CheckIssuers finds what is wrong with issuers. It touches neither files nor network.
func CheckIssuers(issuers []Issuer) ConfigErrors {
	var found ConfigErrors
	names, uses := map[string]int{}, map[issuerRole]int{}
	for i, issuer := range issuers {
		wrong := func(field, format string, args ...any) {
			found = append(found, &ConfigError{Index: i, Field: field, Problem: fmt.Sprintf(format, args...)})
		}
		if first, taken := names[issuer.Name]; taken && issuer.Name != "" {
			wrong("name", "%q is the name of issuers[%d] too: choose another", issuer.Name, first)
		}
		names[issuer.Name] = i
		issuer.checkName(wrong)
		issuer.checkKeys(wrong)
		issuer.checkUse(wrong)
		for item, role := range issuer.Roles {
			use := issuerRole{issuer.URL, role}
			if first, taken := uses[use]; taken && first != i {
				wrong(at("roles", item), "%q is the role of issuers[%d], which has the same url, too: remove one", role, first)
			}
			uses[use] = i
		}
	}
	return found
}

type complaint func(field, format string, args ...any)

// at names an item of a field that is a list.
func at(field string, item int) string { return fmt.Sprintf("%s[%d]", field, item) }

// nameForm is what an issuer may be called.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkName looks at who the issuer is.
func (i *Issuer) checkName(wrong complaint) {
	switch {
	case i.Name == "":
		wrong("name", "is missing: name the issuer, as rules know it by auth.issuer")
	case !nameForm.MatchString(i.Name):
		wrong("name", "%.64q is no name: use up to 64 letters, digits, dots, - and _, a letter or a digit first", i.Name)
	}
	switch {
	case i.URL == "":
		wrong("url", "is missing: write what the issuer's tokens have as iss")
	case strings.ContainsFunc(i.URL, func(r rune) bool { return r <= ' ' || r > '~' }):
		wrong("url", "%.64q is no URL: write what the issuer's tokens have as iss", i.URL)
	case i.JWKSFile == "" && i.JWKSURL == "":
		if err := checkFetchURL(i.URL); err != nil {
			wrong("url", "%s; or say with jwks_url or jwks_file where the keys are", err)
		}
	}
}

// checkKeys looks at where the issuer's keys are.
func (i *Issuer) checkKeys(wrong complaint) {
	switch {
	case i.JWKSFile != "" && i.JWKSURL != "":
		wrong("jwks_url", "the issuer has jwks_file too: remove one of them")
	case i.JWKSURL != "":
		if err := checkFetchURL(i.JWKSURL); err != nil {
			wrong("jwks_url", "%s", err)
		}
	}
	if i.JWKSFile != "" && i.CAFile != "" {
		wrong("ca_file", "is for keys that are fetched: remove it, or jwks_file")
	}
	if i.JWKSFile != "" && i.BearerFile != "" {
		wrong("bearer_file", "is for keys that are fetched: remove it, or jwks_file")
	}
}

// checkUse looks at what the issuer's tokens must be and may do.
func (i *Issuer) checkUse(wrong complaint) {
	checkList(wrong, "audiences", i.Audiences, "is missing: list what tokens for this bridge have as aud, so that those for others are refused")
	checkList(wrong, "roles", i.Roles, "is missing: list one or more of "+list(roles))
	checkList(wrong, "algorithms", i.Algorithms, "is empty: list how tokens may be signed, or remove the key")
	for item, role := range i.Roles {
		if role != "" && !slices.Contains(roles, role) {
			wrong(at("roles", item), "%.64q is no role: choose one of %s", role, list(roles))
		}
	}
	for item, algorithm := range i.Algorithms {
		switch {
		case algorithm == "" || slices.Contains(algorithms, jose.SignatureAlgorithm(algorithm)):
		case strings.EqualFold(algorithm, "none") || strings.HasPrefix(algorithm, "HS"):
			wrong(at("algorithms", item), "%.64q does not prove who signed: use one with a public key, such as ES256", algorithm)
		default:
			wrong(at("algorithms", item), "%.64q is not known: choose one of %s", algorithm, list(algorithms))
		}
	}
	switch {
	case i.Leeway < 0:
		wrong("leeway", "%s is too little: choose at least 0s", i.Leeway)
	case i.Leeway > MaxLeeway:
		wrong("leeway", "%s is too much: choose at most %s", i.Leeway, MaxLeeway)
	}
}

// checkList looks for what no list of texts may have.
func checkList[T ~string](wrong complaint, field string, texts []T, missing string) {
	if len(texts) == 0 {
		wrong(field, "%s", missing)
	}
	for item, text := range texts {
		if text == "" {
			wrong(at(field, item), "is empty: write a value, or remove the entry")
		} else if slices.Contains(texts[:item], text) {
			wrong(at(field, item), "%.64q is in the list twice: remove one", text)
		}
	}
}

// checkFetchURL refuses keys that anybody on their way could replace: they come over TLS, or from this machine. The text
// of a URL that may hold a password is not repeated.
func checkFetchURL(text string) error {
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is no URL: write one such as https://login.example.com")
	case parsed.User != nil:
		return errors.New("has a user or a password: remove them, and name a token's file with bearer_file")
	case parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Hostname() == "":
		return fmt.Errorf("%.64q is no URL: write one such as https://login.example.com", text)
	case parsed.Fragment != "":
		return fmt.Errorf("%.64q has a fragment, which is never sent: remove # and what follows", text)
	case parsed.Scheme == "http" && !loopback(parsed.Hostname()):
		return fmt.Errorf("%.64q is in cleartext, so that keys could be replaced on the way: use https, or jwks_file", text)
	}
	if port, err := strconv.ParseUint(cmp.Or(parsed.Port(), "443"), 10, 16); err != nil || port == 0 || strings.HasSuffix(parsed.Host, ":") {
		return fmt.Errorf("%.64q has no port between 1 and 65535: write one such as https://login.example.com:8443", text)
	}
	return nil
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
