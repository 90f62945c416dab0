package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/ssebridge/ssebridge/auth"
	"github.com/ssebridge/ssebridge/auth/rule"
	"github.com/ssebridge/ssebridge/auth/token"
	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/publish"
	"github.com/ssebridge/ssebridge/bridge/sse"
	"github.com/ssebridge/ssebridge/bridge/telemetry"
	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

// access decides who may do what: the identity of a request from its token, what it may do from the rules.
type access struct {
	rules         *rule.Set
	verifier      *token.Verifier
	readers       *token.Gate // nil with open rules: then everybody is anonymous, whatever token they show
	publishers    *token.Gate // likewise
	origins       *token.Origins
	readersSignIn bool // there is an issuer for readers: an anonymous one may try again with a token
	logger        *slog.Logger
}

// newAccess compiles the rules and opens the issuers of a configuration. The error points into its file.
func newAccess(c *config.Config, dev bool, logger *slog.Logger) (*access, error) {
	a := &access{logger: logger}
	var err error
	if a.origins, err = token.NewOrigins(c.Public.Origins); err != nil {
		return nil, c.At("public.origins", err)
	}
	if dev {
		a.rules = rule.Open()
		return a, nil
	}
	var ruleErr error
	a.rules, ruleErr = rule.Compile(declarations(c.Topics))
	a.verifier, err = token.NewVerifier(c.Issuers, logger)
	if err := errors.Join(atTopics(c, ruleErr), atIssuers(c, err)); err != nil {
		return nil, err
	}
	a.readers = &token.Gate{Verifier: a.verifier, Role: token.RoleSubscribe, Cookie: c.Public.Cookie, Origins: a.origins}
	a.publishers = &token.Gate{Verifier: a.verifier, Role: token.RolePublish}
	for _, issuer := range c.Issuers {
		a.readersSignIn = a.readersSignIn || slices.Contains(issuer.Roles, token.RoleSubscribe)
	}
	return a, nil
}

// checkAccess finds what newAccess would, but for the files of the issuers. What else is wrong with them, loading finds.
func checkAccess(c *config.Config) error {
	_, originErr := token.NewOrigins(c.Public.Origins)
	_, ruleErr := rule.Compile(declarations(c.Topics))
	return errors.Join(c.At("public.origins", originErr), atTopics(c, ruleErr))
}

func declarations(topics []config.Topic) []rule.Declaration {
	declared := make([]rule.Declaration, len(topics))
	for i, t := range topics {
		declared[i] = rule.Declaration{
			Pattern: t.Pattern, Types: t.Types, Source: t.Source, Publish: t.Publish, Subscribe: t.Subscribe, State: t.State,
		}
	}
	return declared
}

// atTopics adds to each error of the rules where in the file it is.
func atTopics(c *config.Config, err error) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return err
	}
	var placed []error
	for _, err := range joined.Unwrap() {
		if wrong := (*rule.Error)(nil); errors.As(err, &wrong) {
			text := wrong.Message
			if wrong.Line > 0 {
				text = fmt.Sprintf("line %d, column %d of the rule: %s", wrong.Line, wrong.Column, wrong.Message)
			}
			err = c.At(fmt.Sprintf("topics[%d].%s", wrong.Index, wrong.Field), errors.New(text))
		}
		placed = append(placed, err)
	}
	return errors.Join(placed...)
}

// atIssuers adds to each error of the issuers where in the file it is.
func atIssuers(c *config.Config, err error) error {
	var wrong token.ConfigErrors
	if !errors.As(err, &wrong) {
		return err
	}
	var placed []error
	for _, w := range wrong {
		placed = append(placed, c.At(w.Key(), errors.New(w.Problem)))
	}
	return errors.Join(placed...)
}

// watch keeps the issuers' keys fresh until ctx ends.
func (a *access) watch(ctx context.Context) {
	if a.verifier != nil {
		a.verifier.Watch(ctx)
	}
}

// reader says who asks, and until when that may read what it asks for. A topic that does not exist and one that is
// forbidden are refused alike. The error is a *sse.Refusal.
func (a *access) reader(r *http.Request, sub *bridge.Subscription) (grant sse.Grant, err error) {
	principal := auth.Anonymous()
	if a.readers != nil {
		if principal, err = a.readers.Identify(r); err != nil {
			return sse.Grant{}, a.refuseReader(r.Context(), err)
		}
	}
	for _, pattern := range sub.Patterns {
		if a.rules.Subscribe(principal, pattern) {
			continue
		}
		if principal.Kind == auth.KindAnonymous && a.readersSignIn {
			return sse.Grant{}, &sse.Refusal{
				Status: http.StatusUnauthorized, Challenge: "Bearer",
				Detail: fmt.Sprintf("%s may not be read without a token: send a bearer token", pattern),
			}
		}
		return sse.Grant{}, &sse.Refusal{Status: http.StatusForbidden, Detail: fmt.Sprintf("you may not read %s", pattern)}
	}
	return sse.Grant{Until: principal.Expires, Principal: fullName(principal)}, nil
}

// fullName returns a name that no other principal of any issuer has; it is empty for anonymous.
func fullName(p *auth.Principal) string {
	if p.Kind == auth.KindAnonymous {
		return ""
	}
	return p.Issuer + "\x00" + p.Subject
}

func (a *access) refuseReader(ctx context.Context, err error) error {
	refusal := (*token.Refusal)(nil)
	if !errors.As(err, &refusal) {
		return err
	}
	a.logger.DebugContext(ctx, "a reader's token does not count", "reason", refusal.Reason, "detail", refusal.Detail)
	if refusal.Err != nil {
		a.logger.DebugContext(ctx, "identify a reader", "error", refusal.Err) // the issuer's keys have warned of it, once
	}
	return &sse.Refusal{Status: refusal.Status, Detail: refusal.Detail, Challenge: refusal.Challenge, Reason: string(refusal.Reason)}
}

// caller says what the publisher of a call may do.
func (a *access) caller(ctx context.Context) publish.Caller {
	principal := auth.FromContext(ctx)
	return publish.Caller{
		ID:    fullName(principal),
		Until: principal.Expires,
		Authorize: func(topic, typeName string) (source string, err error) {
			decision := a.rules.Publish(principal, topic, typeName)
			switch decision.Verdict {
			case rule.Allowed:
				return decision.Source, nil
			case rule.WrongType:
				return "", bridge.Refuse(bridge.CodePermissionDenied, "data", "topic.types", fmt.Sprintf(
					"%s may not be published to this topic: publish one of %v", typeName, decision.Types))
			}
			return "", bridge.Refuse(bridge.CodePermissionDenied, "topic", "publish", fmt.Sprintf(
				"you may not publish %s to this topic: ask who runs the bridge to allow it", typeName))
		},
	}
}

// identifyPublishers puts who makes a call into its context. It answers calls whose token does not count, in the
// protocol that they speak.
func (a *access) identifyPublishers(telemetry *telemetry.Telemetry, next http.Handler) http.Handler {
	if a.publishers == nil {
		return next
	}
	errorWriter := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		principal, err := a.publishers.Identify(r)
		if err == nil {
			next.ServeHTTP(w, r.WithContext(auth.NewContext(r.Context(), principal)))
			return
		}
		refused, refusal := connect.NewError(connect.CodePermissionDenied, errors.New("refused")), (*token.Refusal)(nil)
		if errors.As(err, &refusal) {
			refused = connect.NewError(codeOf(refusal.Status), errors.New(refusal.Detail))
			telemetry.RefusedAt("internal", refusal.Status, string(refusal.Reason))
			a.logger.DebugContext(r.Context(), "a publisher's token does not count", "reason", refusal.Reason, "detail", refusal.Detail)
			if refusal.Challenge != "" { // not as metadata of the error: gRPC sends that as trailers, and net/http none of this name
				w.Header().Set("WWW-Authenticate", refusal.Challenge)
			}
			if refusal.Err != nil {
				a.logger.DebugContext(r.Context(), "identify a publisher", "error", refusal.Err)
			}
		}
		if !errorWriter.IsSupported(r) {
			refusal.Write(w)
			return
		}
		_ = errorWriter.Write(w, r, refused) // who has gone does not read it
	})
}

func codeOf(status int) connect.Code {
	switch status {
	case http.StatusBadRequest:
		return connect.CodeInvalidArgument
	case http.StatusUnauthorized:
		return connect.CodeUnauthenticated
	case http.StatusServiceUnavailable:
		return connect.CodeUnavailable
	}
	return connect.CodePermissionDenied
}

// refuseOtherHosts answers requests for this machine only, by its own names: with open rules a page of any site could
// otherwise read everything, by a name of that site that leads to the loopback interface (DNS rebinding).
func refuseOtherHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		// No browser leaves the host out; the checks of load balancers do.
		if ip := net.ParseIP(strings.Trim(host, "[]")); host == "" || ip.IsLoopback() || strings.EqualFold(host, "localhost") {
			next.ServeHTTP(w, r)
			return
		}
		http.Error(w, "with open rules the bridge answers to localhost only: use http://localhost", http.StatusMisdirectedRequest)
	})
}

// secureHeaders tells browsers to take every answer for what it says it is, and to run none.
func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // a page sets its own
		header.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}
