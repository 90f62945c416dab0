package token

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/ssebridge/ssebridge/auth"
)

// maxDate is the end of the year 9999 in seconds: dates beyond are mistakes, such as milliseconds.
const maxDate = 253_402_300_799

// principal reads the signed payload of a token and checks its claims (RFC 7519, section 4.1).
func (i *issuer) principal(payload []byte, now time.Time) (*auth.Principal, error) {
	claims, ok := parseClaims(payload)
	if !ok {
		return nil, refuse(ReasonClaims, "the token's payload is not a JSON object in UTF-8 with each member once")
	}
	if claims["iss"] != i.url { // what was read before the signature was checked led here, but is not trusted
		return nil, refuse(ReasonIssuer, "the token's iss is not a configured issuer")
	}
	subject, _ := claims["sub"].(string)
	if subject == "" {
		return nil, refuse(ReasonClaims, "the token has no sub, which says who its bearer is")
	}
	if refusal := i.checkAudience(claims["aud"]); refusal != nil {
		return nil, refusal
	}
	expires, refusal := i.checkTimes(claims, now)
	if refusal != nil {
		return nil, refusal
	}
	return &auth.Principal{
		Kind: auth.KindToken, Subject: subject, Issuer: i.name, Claims: claims, Expires: expires,
	}, nil
}

// checkAudience looks for one of the issuer's audiences in aud, which is a text or a list of texts.
func (i *issuer) checkAudience(aud any) *Error {
	audiences, isList := aud.([]any)
	if !isList {
		audiences = []any{aud}
	}
	meant := false
	for _, one := range audiences {
		text, ok := one.(string)
		if !ok {
			return refuse(ReasonClaims, "the token's aud is missing, or neither a text nor a list of texts")
		}
		meant = meant || slices.Contains(i.audiences, text)
	}
	if !meant {
		return refuse(ReasonAudience, "the token's aud does not name this service")
	}
	return nil
}

// checkTimes returns when the token ends.
func (i *issuer) checkTimes(claims map[string]any, now time.Time) (time.Time, *Error) {
	expires, present, ok := date(claims, "exp")
	if !present || !ok {
		return time.Time{}, refuse(ReasonClaims, "the token's exp is missing or not a time in seconds")
	}
	if !now.Before(expires) {
		return time.Time{}, refuse(ReasonExpired, "the token has expired")
	}
	for _, name := range []string{"nbf", "iat"} {
		begin, present, ok := date(claims, name)
		switch {
		case !present:
		case !ok:
			return time.Time{}, refuse(ReasonClaims, "the token's "+name+" is not a time in seconds")
		case begin.After(now.Add(i.leeway)):
			return time.Time{}, refuse(ReasonNotYet, "the token's "+name+" is in the future: compare the clocks")
		}
	}
	return expires, nil
}

// date reads a NumericDate (RFC 7519, section 2): seconds since 1970, with or without a fraction.
func date(claims map[string]any, name string) (at time.Time, present, ok bool) {
	value, present := claims[name]
	seconds := math.Inf(1)
	switch number := value.(type) {
	case int64:
		seconds = float64(number)
	case float64:
		seconds = number
	}
	if seconds < 0 || seconds > maxDate {
		return time.Time{}, present, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))), present, true
}

// parseClaims reads a JSON object; ok is false where it is none. Whole numbers that fit become int64 and others
// float64, as rules expect them.
func parseClaims(payload []byte) (claims map[string]any, ok bool) {
	if !utf8.Valid(payload) || !json.Valid(payload) { // a decoder would not look at what follows the first value
		return nil, false
	}
	decoder := strict.NewDecoder(bytes.NewReader(payload))
	decoder.SetNumberType(strict.UnmarshalJSONNumber)
	if err := decoder.Decode(&claims); err != nil || claims == nil {
		return nil, false
	}
	for name, value := range claims {
		claims[name] = plainNumbers(value)
	}
	return claims, true
}

// plainNumbers replaces numbers as text, at any depth.
func plainNumbers(value any) any {
	switch v := value.(type) {
	case strict.Number:
		if whole, err := v.Int64(); err == nil {
			return whole
		}
		number, _ := v.Float64() // infinite where it is too large
		return number
	case []any:
		for i, item := range v {
			v[i] = plainNumbers(item)
		}
	case map[string]any:
		for name, item := range v {
			v[name] = plainNumbers(item)
		}
	}
	return value
}
