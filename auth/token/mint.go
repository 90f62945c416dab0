package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Key makes tokens for development and tests. Its methods may be called concurrently.
type Key struct {
	private jose.JSONWebKey
}

// Grant is what a token says.
type Grant struct {
	Issuer   string         // iss: the URL of the issuer whose keys hold this one
	Subject  string         // sub
	Audience []string       // aud
	Lifetime time.Duration  // from now to exp
	Claims   map[string]any // others
}

// PublicPath is where GenerateKey puts the public part of a key: dev.jwks beside dev.jwk.
func PublicPath(path string) string { return strings.TrimSuffix(path, ".jwk") + ".jwks" }

// GenerateKey makes a key for ES256 and writes it to path, a JWK that only its owner can read, and its public part to
// PublicPath, a JWK Set for an issuer's JWKSFile. Files that are there are not touched: the error is then fs.ErrExist.
func GenerateKey(path string) (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	k := &Key{jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}}
	thumbprint, err := k.private.Thumbprint(crypto.SHA256) // RFC 7638
	if err != nil {
		return nil, err
	}
	k.private.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	// The public part first: a key whose public part is missing would be of no use.
	if err := create(PublicPath(path), 0o644, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.private.Public()}}); err != nil {
		return nil, err
	}
	if err := create(path, 0o600, k.private); err != nil {
		return nil, errors.Join(err, os.Remove(PublicPath(path)))
	}
	return k, nil
}

// create writes a new file.
func create(path string, mode fs.FileMode, content any) error {
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the caller names the file
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: use the key that is there, or name another file", err)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// LoadKey reads a key that GenerateKey has written.
func LoadKey(path string) (*Key, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, err
	}
	var k Key
	if err := k.private.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("%s is not a JWK", path)
	}
	if private, ok := k.private.Key.(*ecdsa.PrivateKey); !ok || private.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is not a private key for %s", path, jose.ES256)
	}
	return &k, nil
}

// registered are the claims that a Grant has fields for, or that follow from it.
var registered = []string{"iss", "sub", "aud", "exp", "iat"}

// Mint makes a token.
func (k *Key) Mint(grant Grant) (string, error) {
	switch {
	case grant.Issuer == "", grant.Subject == "", len(grant.Audience) == 0:
		return "", errors.New("a token needs an issuer, a subject and an audience")
	case grant.Lifetime < time.Second:
		return "", errors.New("a token needs a lifetime of 1 s or more")
	}
	claims := maps.Clone(grant.Claims)
	if claims == nil {
		claims = map[string]any{}
	}
	for _, name := range registered {
		if _, present := claims[name]; present {
			return "", fmt.Errorf("the claim %s cannot be set: it follows from issuer, subject, audience and lifetime", name)
		}
	}
	now := time.Now()
	claims["iss"], claims["sub"], claims["aud"] = grant.Issuer, grant.Subject, grant.Audience
	claims["iat"], claims["exp"] = now.Unix(), now.Add(grant.Lifetime+time.Second-1).Unix() // rounded up
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.private}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
