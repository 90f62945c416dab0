package token

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // refuses duplicate members and knows upper from lower case

	"github.com/ssebridge/ssebridge/auth"
)

// MaxBytes is how long a token may be.
const MaxBytes = 16 << 10

// maxHeaderText is how long the header of a token may be, encoded. Anybody can make the bridge read one; 4 KiB hold a
// certificate or two.
const maxHeaderText = 4 << 10

// Verifier checks tokens. All methods may be called concurrently.
type Verifier struct {
	issuers map[issuerRole]*issuer
	urls    map[string]bool // of all issuers, whatever their role
	sources []source
}

type issuerRole struct {
	url  string
	role Role
}

// issuer is an Issuer, ready for use.
type issuer struct {
	name       string
	url        string
	audiences  []string
	algorithms []jose.SignatureAlgorithm
	leeway     time.Duration
	source     source
}

// source is where the keys of an issuer are.
type source interface {
	keys(ctx context.Context) (*keySet, error)  // as known; fetches only what was never known
	renew(ctx context.Context) (*keySet, error) // as they are now, because a token asks for it
	watch(ctx context.Context)                  // keeps them new until ctx ends
}

// NewVerifier checks the settings and reads the keys that are in files. It fetches nothing: an issuer that cannot be
// reached does not keep the bridge from starting. The error is a ConfigErrors.
func NewVerifier(issuers []Issuer, logger *slog.Logger) (*Verifier, error) {
	return newVerifier(issuers, logger, nil)
}

func newVerifier(issuers []Issuer, logger *slog.Logger, dial dialFunc) (*Verifier, error) {
	if wrong := CheckIssuers(issuers); len(wrong) > 0 {
		return nil, wrong
	}
	v := &Verifier{issuers: map[issuerRole]*issuer{}, urls: map[string]bool{}}
	var wrong ConfigErrors
	for i, config := range issuers {
		keys, err := open(config, logger.With("issuer", config.Name), dial)
		if err != nil {
			err.Index = i
			wrong = append(wrong, err)
			continue
		}
		v.add(config, keys)
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return v, nil
}

// open makes the source of an issuer's keys, and finds files that are missing or broken.
func open(config Issuer, logger *slog.Logger, dial dialFunc) (source, *ConfigError) {
	if config.JWKSFile != "" {
		keys, err := openFile(config.JWKSFile, logger)
		if err != nil {
			return nil, &ConfigError{Field: "jwks_file", Problem: err.Error()}
		}
		return keys, nil
	}
	remote := &fetcher{issuer: config, dial: dial}
	if _, err := remote.roots(); err != nil {
		return nil, &ConfigError{Field: "ca_file", Problem: err.Error()}
	}
	if config.BearerFile != "" {
		if _, err := readBearer(config.BearerFile); err != nil {
			return nil, &ConfigError{Field: "bearer_file", Problem: err.Error()}
		}
	}
	return &remoteKeys{fetch: remote.keys, log: logger}, nil
}

func (v *Verifier) add(config Issuer, keys source) {
	ready := &issuer{name: config.Name, url: config.URL, audiences: config.Audiences, leeway: config.Leeway, source: keys}
	for _, name := range config.Algorithms {
		ready.algorithms = append(ready.algorithms, jose.SignatureAlgorithm(name))
	}
	for _, role := range config.Roles {
		v.issuers[issuerRole{config.URL, role}] = ready
	}
	v.urls[config.URL] = true
	v.sources = append(v.sources, keys)
}

// Watch keeps the keys of all issuers new until ctx ends. Without it, files and addresses are read again only when a
// token's key is not known.
func (v *Verifier) Watch(ctx context.Context) {
	var all sync.WaitGroup
	for _, keys := range v.sources {
		all.Go(func() { keys.watch(ctx) })
	}
	all.Wait()
}

// Verify returns who a token says its bearer is, if it counts for the role. The principal's Expires is the token's
// exp, to which no leeway is added: a token counts up to the time that its issuer has written into it. The error is an
// *Error. It waits for the network only where the issuer's keys were not fetched yet or none of them fits, 5 s at most.
func (v *Verifier) Verify(ctx context.Context, raw string, role Role) (*auth.Principal, error) {
	claimed, err := claimedIssuer(raw)
	if err != nil {
		return nil, err
	}
	issuer, ok := v.issuers[issuerRole{claimed, role}]
	switch {
	case !ok && v.urls[claimed]:
		return nil, refuse(ReasonIssuer, "tokens of this issuer do not count for "+string(role)+" requests")
	case !ok:
		return nil, refuse(ReasonIssuer, "the token's iss is not a configured issuer")
	}
	signed, err := issuer.parse(raw)
	if err != nil {
		return nil, err
	}
	payload, err := issuer.payload(ctx, signed)
	if err != nil {
		return nil, err
	}
	return issuer.principal(payload, time.Now())
}

// claimedIssuer returns the iss claim of a token that nobody has checked. It serves to find the keys to check it with.
func claimedIssuer(raw string) (string, error) {
	if len(raw) > MaxBytes {
		return "", refuse(ReasonMalformed, "the token is longer than 16 KiB")
	}
	if !isCompact(raw) {
		return "", refuse(ReasonMalformed, "the token holds a character that no token has")
	}
	switch strings.Count(raw, ".") {
	case 2:
	case 4: // RFC 7516, section 7.1
		return "", refuse(ReasonMalformed, "the token is encrypted (JWE): send a signed one (JWS)")
	default:
		return "", refuse(ReasonMalformed, "the token is not a JSON Web Token: three parts, joined by dots")
	}
	head, rest, _ := strings.Cut(raw, ".")
	if len(head) > maxHeaderText {
		return "", refuse(ReasonMalformed, "the token's header is longer than 4 KiB")
	}
	body, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return "", refuse(ReasonMalformed, "the token's payload is not base64url")
	}
	var claims struct {
		Issuer *string `json:"iss"`
	}
	if err := strict.Unmarshal(payload, &claims); err != nil {
		return "", refuse(ReasonMalformed, "the token's payload is not a JSON object with each member once and a text as iss")
	}
	if claims.Issuer == nil {
		return "", refuse(ReasonIssuer, "the token has no iss")
	}
	return *claims.Issuer, nil
}

// isCompact says whether text holds only what the compact form is made of (RFC 7515, section 7.1). Go's base64 would
// pass over line breaks.
func isCompact(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r != '.' && !isBase64URL(r) })
}

func isBase64URL(r rune) bool {
	return 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// parse takes a token apart and looks at its header.
func (i *issuer) parse(raw string) (*jose.JSONWebSignature, error) {
	signed, err := jose.ParseSignedCompact(raw, i.algorithms)
	if other, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, refuse(ReasonAlgorithm, wrongAlgorithm(string(other.Got))+": the issuer may use "+list(i.algorithms))
	}
	if err != nil {
		return nil, refuse(ReasonMalformed, "the token's header or signature is not what RFC 7515 says")
	}
	// No extension is supported (RFC 7515, section 4.1.11), and b64 changes what is signed (RFC 7797).
	extra := signed.Signatures[0].Protected.ExtraHeaders
	if _, present := extra["crit"]; present {
		return nil, refuse(ReasonMalformed, "the token's header has crit: no extension is supported")
	}
	if _, present := extra["b64"]; present {
		return nil, refuse(ReasonMalformed, "the token's header has b64, which is not supported")
	}
	if typ, present := extra["typ"]; present && !isAccessType(typ) {
		return nil, refuse(ReasonMalformed, "the token's typ is neither JWT nor at+jwt: it is for something else")
	}
	return signed, nil
}

// isAccessType tells tokens that give access from others that the same issuer signs (RFC 8725, section 3.11). The
// prefix application/ may be left out (RFC 7515, section 4.1.9).
func isAccessType(typ any) bool {
	text, _ := typ.(string)
	name := strings.TrimPrefix(strings.ToLower(text), "application/")
	return name == "jwt" || name == "at+jwt"
}

func wrongAlgorithm(name string) string {
	switch {
	case strings.EqualFold(name, "none"):
		return "the token is not signed"
	case strings.HasPrefix(name, "HS"):
		return "the token is signed with a shared secret"
	}
	return "the token's alg is not allowed"
}

// payload checks the signature and returns what is signed. Where no key fits, the issuer may have new ones.
func (i *issuer) payload(ctx context.Context, signed *jose.JSONWebSignature) ([]byte, error) {
	keys, err := i.source.keys(ctx)
	if err != nil {
		return nil, err
	}
	payload, refusal := keys.check(signed)
	if refusal == nil {
		return payload, nil
	}
	renewed, err := i.source.renew(ctx)
	switch {
	case err != nil && refusal.Reason == ReasonKey:
		return nil, err // nobody can say now whether the issuer has that key
	case err != nil || renewed == keys:
		return nil, refusal
	}
	if payload, refusal = renewed.check(signed); refusal != nil {
		return nil, refusal
	}
	return payload, nil
}

// check checks a signature with the key that it names and returns what is signed.
func (s *keySet) check(signed *jose.JSONWebSignature) ([]byte, *Error) {
	header := signed.Signatures[0].Protected
	candidates, refusal := s.find(header.KeyID, jose.SignatureAlgorithm(header.Algorithm))
	if refusal != nil {
		return nil, refusal
	}
	for _, k := range candidates {
		if payload, err := signed.Verify(k.public); err == nil {
			return payload, nil
		}
	}
	return nil, refuse(ReasonSignature, "the token's signature is wrong: it was changed, or somebody else has signed it")
}
