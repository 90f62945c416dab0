package token

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/ssebridge/ssebridge/auth"
)

// Gate finds out who makes a request. It does not change, and its methods may be called concurrently.
type Gate struct {
	Verifier *Verifier
	Role     Role     // what the requests want
	Cookie   string   // name of the cookie that may carry a token; empty: none may. Only for requests of browsers
	Origins  *Origins // pages that may use the cookie; nil: those of the bridge's own origin, where browsers say so
}

// Challenges of RFC 6750, section 3.
const (
	challengeNone    = `Bearer` // no bearer token was shown: then no error code is due
	challengeRequest = `Bearer error="invalid_request"`
	challengeToken   = `Bearer error="invalid_token"` //nolint:gosec // no credential
)

// Identify returns who makes the request: the bearer of its token, or the anonymous principal where it shows none. The
// error is a *Refusal. Credentials that do not count are refused, never passed over.
func (g *Gate) Identify(r *http.Request) (*auth.Principal, error) {
	bearer, refusal := bearerOf(r)
	if refusal != nil {
		return nil, refusal
	}
	cookie, refusal := g.cookieOf(r)
	if refusal != nil {
		return nil, refusal
	}
	switch {
	case bearer != "" && cookie != "" && bearer != cookie:
		return nil, badRequest("the Authorization header and the cookie carry different tokens: send one of them")
	case bearer != "": // a page sets this header by itself, and on another origin only if CORS lets it
	case cookie != "": // a browser adds this one, whatever page asks
		if refusal := g.checkPage(r); refusal != nil {
			return nil, refusal
		}
		bearer = cookie
	default:
		return auth.Anonymous(), nil
	}
	principal, err := g.Verifier.Verify(r.Context(), bearer, g.Role)
	if err != nil {
		return nil, refusalOf(err)
	}
	return principal, nil
}

// bearerOf returns the token of the Authorization header (RFC 6750, section 2.1), or nothing where there is no header.
func bearerOf(r *http.Request) (string, *Refusal) {
	headers := r.Header.Values("Authorization")
	switch len(headers) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", badRequest("there is more than one Authorization header: send one")
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &Refusal{
			Status: http.StatusUnauthorized, Challenge: challengeNone, Reason: ReasonRequest,
			Detail: "the Authorization header is not of the scheme Bearer: send Authorization: Bearer <token>",
		}
	}
	token = strings.Trim(token, " ")
	if token == "" || !isToken68(token) {
		return "", badRequest("the Authorization header does not hold one token: send Authorization: Bearer <token>")
	}
	return token, nil
}

// isToken68 says whether text can be a bearer token (RFC 6750, section 2.1, b64token).
func isToken68(text string) bool {
	return !strings.ContainsFunc(strings.TrimRight(text, "="), func(r rune) bool {
		return !isBase64URL(r) && !strings.ContainsRune(".~+/", r)
	})
}

// cookieOf returns the token of the cookie, or nothing where the cookie is missing or empty, as after a sign-out.
func (g *Gate) cookieOf(r *http.Request) (string, *Refusal) {
	if g.Cookie == "" {
		return "", nil
	}
	cookies := r.CookiesNamed(g.Cookie)
	switch len(cookies) {
	case 0:
		return "", nil
	case 1:
		return cookies[0].Value, nil
	}
	// A sibling host can plant a second one (RFC 6265, section 8.6); nobody can tell which is which.
	return "", badRequest(fmt.Sprintf("there is more than one cookie %s: delete those of other paths and domains", g.Cookie))
}

// checkPage says whether the page that makes the request may use the cookie. Browsers send Origin with every request
// to another origin except plain navigation and embedding, for which Sec-Fetch-Site is not same-origin.
func (g *Gate) checkPage(r *http.Request) *Refusal {
	if origins := r.Header.Values("Origin"); len(origins) > 0 {
		if len(origins) == 1 && g.Origins.listed(origins[0]) {
			return nil
		}
		return forbidden("the page's origin may not use the cookie: list the origin in the bridge's configuration")
	}
	if sites := r.Header.Values("Sec-Fetch-Site"); len(sites) != 1 || sites[0] != "same-origin" {
		return forbidden("the cookie counts only for pages that browsers vouch for, with Origin or Sec-Fetch-Site: " +
			"send the token as Authorization: Bearer <token>")
	}
	return nil
}

func badRequest(detail string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Challenge: challengeRequest, Reason: ReasonRequest, Detail: detail}
}

func forbidden(detail string) *Refusal {
	return &Refusal{Status: http.StatusForbidden, Reason: ReasonOrigin, Detail: detail}
}

// refusalOf answers a request whose token does not count.
func refusalOf(err error) *Refusal {
	if refused, ok := errors.AsType[*Error](err); ok && !refused.Temporary() {
		return &Refusal{Status: http.StatusUnauthorized, Challenge: challengeToken, Reason: refused.Reason, Detail: refused.Detail}
	}
	return &Refusal{Status: http.StatusServiceUnavailable, Reason: ReasonUnavailable, Detail: unavailable, Err: errors.Unwrap(err)}
}
