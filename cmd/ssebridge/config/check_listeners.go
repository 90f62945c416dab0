package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// listeners checks addresses and the pairs of TLS files.
func (k *checker) listeners() {
	c := k.config
	taken := map[string]string{}
	for _, listener := range []struct {
		Listener

		section string
	}{{Listener{c.Public.Addr, c.Public.TLS}, "public"}, {c.Internal, "internal"}, {c.Ops, "ops"}} {
		key := listener.section + ".addr"
		if err := checkAddr(listener.Addr); err != nil {
			k.report(key, err)
		} else if other, ok := taken[listener.Addr]; ok && !strings.HasSuffix(listener.Addr, ":0") {
			if !k.given(key) {
				key, other = other, key
			}
			k.reportf(key, "%s is the address of %s too: choose another port", short(listener.Addr), other)
		}
		taken[listener.Addr] = key
		tls := listener.section + ".tls"
		switch {
		case listener.TLS.Cert != "" && listener.TLS.Key == "":
			k.report(tls+".key", errors.New("is missing: name the file of the certificate's private key, or remove cert"))
		case listener.TLS.Cert == "" && listener.TLS.Key != "":
			k.report(tls+".cert", errors.New("is missing: name the file of the key's certificate, or remove key"))
		}
	}
}

// given reports whether a key does not have its default.
func (k *checker) given(key string) bool {
	_, ok := k.config.origins[key]
	return ok
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?$`)

func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s is no address: use host:port or :port", short(addr))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s has no port between 0 and 65535: use host:port or :port", short(addr))
	}
	if ip, _, _ := strings.Cut(host, "%"); host != "" && net.ParseIP(ip) == nil && !hostName.MatchString(host) {
		return fmt.Errorf("%s has no host that is a name or an IP address: use host:port or :port", short(addr))
	}
	return nil
}

// cookieName is a token as in RFC 6265, section 4.1.1, and RFC 9110, section 5.6.2.
var cookieName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")

func (k *checker) public(public Public) {
	for i, origin := range public.Origins {
		k.report(fmt.Sprintf("public.origins[%d]", i), checkOrigin(origin))
	}
	k.unique("public.origins", public.Origins)
	for i, network := range public.TrustedProxies {
		k.report(fmt.Sprintf("public.trusted_proxies[%d]", i), checkNetwork(network))
	}
	k.unique("public.trusted_proxies", public.TrustedProxies)
	if public.Cookie != "" && !cookieName.MatchString(public.Cookie) {
		k.reportf("public.cookie", "%s is no name of a cookie: use letters, digits, - and _, such as __Host-token", short(public.Cookie))
	}
}

// checkOrigin holds an origin to what a browser sends (RFC 6454, section 6.2), as it is compared byte by byte.
func checkOrigin(origin string) error {
	const form = "write scheme://host or scheme://host:port, such as https://app.example.com"
	parsed, err := url.Parse(origin)
	switch {
	case strings.Contains(origin, "*"):
		return fmt.Errorf("%s has a wildcard: list every origin, such as https://app.example.com", short(origin))
	case err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Hostname() == "":
		return fmt.Errorf("%s is no origin: %s", short(origin), form)
	case parsed.User != nil || parsed.Path != "" || parsed.RawQuery != "" || parsed.ForceQuery || strings.Contains(origin, "#"):
		return fmt.Errorf("%s is more than an origin: write %q", short(origin), parsed.Scheme+"://"+parsed.Host)
	case strings.ToLower(origin) != origin:
		return fmt.Errorf("%s has capitals, which browsers do not send: write %q", short(origin), strings.ToLower(origin))
	case parsed.Scheme == "https" && parsed.Port() == "443" || parsed.Scheme == "http" && parsed.Port() == "80":
		return fmt.Errorf("%s has the default port, which browsers do not send: write %q", short(origin), strings.TrimSuffix(origin, ":"+parsed.Port()))
	}
	if err := checkHostPort(parsed); err != nil {
		return fmt.Errorf("%s %w: %s", short(origin), err, form)
	}
	return nil
}

// checkNetwork holds a network to the one form in which addresses are compared with it.
func checkNetwork(text string) error {
	network, err := netip.ParsePrefix(text)
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return fmt.Errorf("%s has no prefix length: write %s", short(text), netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()))
	}
	switch {
	case text == "":
		return nil // the list says so
	case err != nil:
		return fmt.Errorf("%s is no network: write an address and the length of its prefix, such as 10.0.0.0/8 or fd00::/8", short(text))
	case network.Addr().Is4In6():
		return fmt.Errorf("%s has IPv4 addresses in the form of IPv6: write the network of IPv4, such as 10.0.0.0/8", short(text))
	case network.Bits() == 0:
		return fmt.Errorf("%s is everybody, who could then pretend to be anybody: list the networks of your proxies", short(text))
	case network != network.Masked():
		return fmt.Errorf("%s has bits behind its prefix: write %s", short(text), network.Masked())
	}
	return nil
}

// checkHostPort looks at what url.Parse lets through.
func checkHostPort(parsed *url.URL) error {
	if _, err := strconv.ParseUint(parsed.Port(), 10, 16); (err != nil || parsed.Port() == "0") && parsed.Port() != "" || strings.HasSuffix(parsed.Host, ":") {
		return errors.New("has no port between 1 and 65535")
	}
	if ip, _, _ := strings.Cut(parsed.Hostname(), "%"); net.ParseIP(ip) == nil && !hostName.MatchString(parsed.Hostname()) {
		return errors.New("has no host that is a name or an IP address")
	}
	return nil
}

// checkServer looks at the URL of a NATS server. The text of a URL that may hold a password is not repeated.
func checkServer(server string) error {
	parsed, err := url.Parse(server)
	switch {
	case err == nil && parsed.User != nil:
		return errors.New("has a user or a password: remove them, and name a file with log.credentials_file")
	case err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, parsed.Scheme) || parsed.Hostname() == "":
		return errors.New("is no URL of NATS servers: write one such as nats://nats:4222, several split by commas")
	case parsed.Path != "" && parsed.Path != "/" || parsed.RawQuery != "" || parsed.Fragment != "":
		return errors.New("is more than host and port: write a URL such as nats://nats:4222")
	}
	if err := checkHostPort(parsed); err != nil {
		return fmt.Errorf("%w: write a URL such as nats://nats:4222", err)
	}
	return nil
}

// reference checks the source of a CloudEvent (CloudEvents 1.0, section "source"): a URI reference (RFC 3986).
func (k *checker) reference(key, source string) {
	if _, err := url.Parse(source); err != nil || strings.ContainsFunc(source, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\"<>\\^`{|}", c) }) {
		k.reportf(key, "%s is no URI reference: write one such as /shop/orders, without spaces, other characters as %%XX", short(source))
	}
}
