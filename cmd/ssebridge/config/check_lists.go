package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

var issuerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// algorithms are those of RFC 7518, section 3.1, and RFC 8037 in which only the issuer can sign.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (k *checker) issuers(issuers []Issuer) {
	names := map[string]int{}
	for i, issuer := range issuers {
		at := fmt.Sprintf("issuers[%d]", i)
		switch first, taken := names[issuer.Name]; {
		case issuer.Name == "":
			k.report(at+".name", errors.New("is missing: name the issuer, as rules know it by auth.issuer"))
		case !issuerName.MatchString(issuer.Name):
			k.reportf(at+".name", "%s is no name: use up to 64 letters, digits, dots, - and _", short(issuer.Name))
		case taken:
			k.reportf(at+".name", "%s is the name of issuers[%d] too: choose another", short(issuer.Name), first)
		}
		switch {
		case issuer.URL == "":
			k.report(at+".url", errors.New("is missing: write what the issuer's tokens have as iss"))
		case strings.ContainsFunc(issuer.URL, func(c rune) bool { return c <= ' ' || c > '~' }):
			k.reportf(at+".url", "%s is no URL: write what the issuer's tokens have as iss", short(issuer.URL))
		}
		for other, earlier := range issuers[:i] {
			for n, role := range issuer.Roles {
				if earlier.URL == issuer.URL && slices.Contains(earlier.Roles, role) {
					k.reportf(fmt.Sprintf("%s.roles[%d]", at, n), "%s is the role of issuers[%d], which has the same url, too: remove one", short(role), other)
				}
			}
		}
		names[issuer.Name] = i
		k.keys(at, issuer)
		k.grants(at, issuer)
		within(k, at+".leeway", issuer.Leeway, time.Second, 5*time.Minute)
	}
}

// keys checks where an issuer's keys come from.
func (k *checker) keys(at string, issuer Issuer) {
	switch {
	case issuer.JWKSFile != "" && issuer.JWKSURL != "":
		k.report(at+".jwks_url", errors.New("the issuer has jwks_file too: remove one of them"))
	case issuer.JWKSURL != "":
		k.report(at+".jwks_url", checkKeysURL(issuer.JWKSURL))
	}
	for key, file := range map[string]string{".ca_file": issuer.CAFile, ".bearer_file": issuer.BearerFile} {
		if file != "" && issuer.JWKSFile != "" {
			k.report(at+key, errors.New("is for keys that are fetched: remove it, or jwks_file"))
		}
	}
}

// checkKeysURL refuses keys that anybody in the network could replace.
func checkKeysURL(text string) error {
	parsed, err := url.Parse(text)
	switch {
	case err == nil && parsed.User != nil:
		return errors.New("has a user or a password: remove them, and name a token's file with bearer_file")
	case err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Hostname() == "":
		return fmt.Errorf("%s is no URL: write one such as https://login.example.com/jwks.json", short(text))
	case parsed.Scheme == "http" && parsed.Hostname() != "localhost" && !net.ParseIP(parsed.Hostname()).IsLoopback():
		return fmt.Errorf("%s is in cleartext, so that keys could be replaced on the way: use https, or jwks_file", short(text))
	}
	if err := checkHostPort(parsed); err != nil {
		return fmt.Errorf("%s %w: write one such as https://login.example.com/jwks.json", short(text), err)
	}
	return nil
}

// grants checks for whom and for what an issuer's tokens count.
func (k *checker) grants(at string, issuer Issuer) {
	if len(issuer.Audiences) == 0 {
		k.report(at+".audiences", errors.New("is missing: list what tokens for this bridge have as aud, so that those for others are refused"))
	}
	if len(issuer.Roles) == 0 {
		k.report(at+".roles", errors.New("is missing: list publish, subscribe or both"))
	}
	if len(issuer.Algorithms) == 0 {
		k.report(at+".algorithms", errors.New("is empty: list how tokens may be signed, or remove the key"))
	}
	k.unique(at+".audiences", issuer.Audiences)
	k.unique(at+".roles", issuer.Roles)
	k.unique(at+".algorithms", issuer.Algorithms)
	for i, role := range issuer.Roles {
		if role != "" {
			k.oneOf(fmt.Sprintf("%s.roles[%d]", at, i), role, []string{"publish", "subscribe"})
		}
	}
	for i, algorithm := range issuer.Algorithms {
		key := fmt.Sprintf("%s.algorithms[%d]", at, i)
		switch {
		case algorithm == "":
		case strings.EqualFold(algorithm, "none") || strings.HasPrefix(algorithm, "HS"):
			k.reportf(key, "%s does not prove who signed: use one with a public key, such as ES256", short(algorithm))
		default:
			k.oneOf(key, algorithm, algorithms)
		}
	}
}

// topics checks declarations as far as that goes without their rules.
func (k *checker) topics(topics []Topic) {
	for i, topic := range topics {
		at := fmt.Sprintf("topics[%d]", i)
		first := slices.IndexFunc(topics, func(other Topic) bool { return other.Pattern == topic.Pattern })
		switch {
		case topic.Pattern == "":
			k.report(at+".pattern", errors.New("is missing: name the topics, such as shops/{shop}/orders/{order}"))
		case first < i:
			k.reportf(at+".pattern", "%s is declared by topics[%d] already, which governs: remove one", short(topic.Pattern), first)
		}
		k.unique(at+".types", topic.Types)
		k.reference(at+".source", topic.Source)
	}
}
