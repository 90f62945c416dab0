package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Limits of keys and key sets.
const (
	maxSetBytes = 1 << 20
	minRSABits  = 2048 // RFC 7518, section 3.3
	maxRSABits  = 8192 // a check with a larger key takes too long
	maxTold     = 5    // keys of which an error says what is wrong
)

// keySet holds the public keys of an issuer that check signatures. It does not change.
type keySet struct {
	keys []key
}

// key is one public key.
type key struct {
	id         string
	algorithms []jose.SignatureAlgorithm // that it may check
	public     any
}

// jwk is what matters of a JSON Web Key (RFC 7517, section 4). Certificates are left out: what makes a key count is
// the place it comes from.
type jwk struct {
	Kty string `json:"kty,omitempty"`
	Crv string `json:"crv,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

type describedKey struct {
	jwk

	Kid    string   `json:"kid"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	D      string   `json:"d"`
}

// parseKeys reads a JWK Set. Keys that cannot check a signature are passed over, as RFC 7517, section 5, asks; a set
// without any that can is an error, which says why of each.
func parseKeys(data []byte) (*keySet, error) {
	if len(data) > maxSetBytes {
		return nil, fmt.Errorf("is larger than %d bytes", maxSetBytes)
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		if _, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("is not JSON: %w", err)
		}
		return nil, errors.New(`is not a JWK Set: {"keys":[…]}`)
	}
	if len(document.Keys) == 0 {
		return nil, errors.New(`has no "keys": a JWK Set is {"keys":[…]}`)
	}
	var set keySet
	var passed []string
	for i, raw := range document.Keys {
		k, err := parseKey(raw)
		if err != nil {
			passed = append(passed, fmt.Sprintf("keys[%d] %s", i, err))
			continue
		}
		set.keys = append(set.keys, k)
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("holds no key that checks signatures: %s", strings.Join(passed[:min(len(passed), maxTold)], "; "))
	}
	return &set, nil
}

func parseKey(raw []byte) (key, error) {
	var described describedKey
	if err := json.Unmarshal(raw, &described); err != nil {
		return key{}, errors.New("is not a JWK")
	}
	switch {
	case described.Kty == "oct":
		return key{}, errors.New("is a shared secret, which is never accepted")
	case described.D != "":
		return key{}, errors.New("is a private key: publish only its public part")
	case described.Use != "" && described.Use != "sig":
		return key{}, errors.New("has another use than sig")
	case described.KeyOps != nil && !slices.Contains(described.KeyOps, "verify"):
		return key{}, errors.New("has key_ops without verify")
	}
	plain, err := json.Marshal(described.jwk)
	if err != nil {
		return key{}, err
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(plain); err != nil {
		return key{}, errors.New("has a type or a value that is not supported")
	}
	fit := fitting(parsed.Key)
	if described.Alg != "" {
		fit = slices.DeleteFunc(fit, func(a jose.SignatureAlgorithm) bool { return string(a) != described.Alg })
	}
	if len(fit) == 0 {
		return key{}, errors.New("has a size, curve or alg that is not supported")
	}
	return key{id: described.Kid, algorithms: fit, public: parsed.Key}, nil
}

// fitting returns the algorithms whose signatures a public key can check (RFC 7518, section 3; RFC 8037, section 3.1).
func fitting(public any) []jose.SignatureAlgorithm {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); minRSABits <= bits && bits <= maxRSABits {
			return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

// find returns the keys that a signature may be of: those with the id, or, where the token names none, every key of
// the algorithm, which may only be one.
func (s *keySet) find(id string, algorithm jose.SignatureAlgorithm) ([]key, *Error) {
	var named, found []key
	for _, k := range s.keys {
		if id != "" && k.id != id {
			continue
		}
		named = append(named, k)
		if slices.Contains(k.algorithms, algorithm) {
			found = append(found, k)
		}
	}
	switch {
	case len(named) == 0:
		return nil, refuse(ReasonKey, "the issuer has no key of the token's kid")
	case len(found) == 0:
		return nil, refuse(ReasonKey, "the issuer's key is not for the token's alg")
	case id == "" && len(found) > 1:
		return nil, refuse(ReasonKey, "the token has no kid, and the issuer has more than one key for its alg")
	}
	return found, nil
}
