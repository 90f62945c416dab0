package token

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Origins are the web origins (RFC 6454) whose pages may read what the bridge answers. It does not change, and its
// methods may be called concurrently.
type Origins struct {
	any    bool
	exact  map[string]bool
	maxAge string
}

// preflightAge is for how long a browser remembers what it may do. Chromium allows no more.
const preflightAge = 2 * time.Hour

// OriginError is an origin that cannot be listed.
type OriginError struct {
	Index   int
	Problem string // what is wrong and how to mend it
}

func (e *OriginError) Error() string { return fmt.Sprintf("origin %d: %s", e.Index, e.Problem) }

// NewOrigins lists origins such as https://shop.example.com, as browsers write them. "*", which must stand alone, means
// pages of any origin, and then without cookies. None means the bridge's own. The error is an *OriginError.
func NewOrigins(origins []string) (*Origins, error) {
	o := &Origins{exact: map[string]bool{}, maxAge: strconv.Itoa(int(preflightAge / time.Second))}
	for i, origin := range origins {
		if origin == "*" {
			if len(origins) > 1 {
				return nil, &OriginError{i, `"*" must stand alone: with it no page may use cookies, listed or not`}
			}
			o.any = true
			continue
		}
		if err := checkOrigin(origin); err != nil {
			return nil, &OriginError{i, err.Error()}
		}
		o.exact[origin] = true
	}
	return o, nil
}

// checkOrigin says whether browsers write an origin like that (RFC 6454, section 6.2): it is compared byte by byte.
func checkOrigin(text string) error {
	if text == "null" {
		return errors.New("null is the origin of any sandboxed page and of files: it cannot be trusted")
	}
	if strings.Contains(text, "*") {
		return fmt.Errorf("%q has a wildcard: list each origin", text)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return fmt.Errorf("%q is not an origin such as https://shop.example.com", text)
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is neither https nor http", text)
	}
	if written := serialized(u); written != text {
		return fmt.Errorf("%q is not how browsers write it: %s", text, written)
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%q must be written in ASCII, as xn--…", text)
	}
	return nil
}

func serialized(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		host = "[" + ip.String() + "]"
	}
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + host + ":" + port
}

// listed says whether an origin may use cookies.
func (o *Origins) listed(origin string) bool { return o != nil && o.exact[origin] }

// CORS lets pages of the origins read the answers of next (Fetch standard, section 3.3), those of listed origins with
// cookies. Requests of other pages get no such header and go on: their browsers keep the answer from them.
func (o *Origins) CORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Add("Vary", "Origin") // also without one, so that no cache serves one origin's answer to another
		origins := r.Header.Values("Origin")
		switch {
		case len(origins) != 1:
			next.ServeHTTP(w, r)
			return
		case o.any:
			header.Set("Access-Control-Allow-Origin", "*")
		case o.listed(origins[0]):
			header.Set("Access-Control-Allow-Origin", origins[0])
			header.Set("Access-Control-Allow-Credentials", "true")
		default:
			next.ServeHTTP(w, r)
			return
		}
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			header.Set("Access-Control-Allow-Methods", "GET, POST")
			header.Set("Access-Control-Allow-Headers", "Authorization, Cache-Control, Content-Type, Last-Event-ID, Traceparent, Tracestate")
			header.Set("Access-Control-Max-Age", o.maxAge)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		header.Set("Access-Control-Expose-Headers", "Retry-After") // of an answer that says when to come back
		next.ServeHTTP(w, r)
	})
}

// RefuseBrowsers keeps pages away from next: what a browser says about the page that makes a request is refused. A
// page on a machine inside could otherwise reach a listener that is not open to the outside.
func RefuseBrowsers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.ContainsFunc([]string{"Origin", "Sec-Fetch-Site"}, func(name string) bool { return r.Header[name] != nil }) {
			forbidden("the internal listener serves services, not pages: " +
				"a request with Origin or Sec-Fetch-Site is refused. Pages use the public listener").Write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}
