package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

const (
	users    = "https://login.example.com"
	services = "https://services.example.com"
)

// problem is what a refused request gets (RFC 9457).
type problem struct {
	Type, Title, Detail, Parameter, Reason string

	Status int
}

func readProblem(t testing.TB, response *http.Response) problem {
	t.Helper()
	assert.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	var p problem
	require.NoError(t, json.NewDecoder(response.Body).Decode(&p))
	assert.Equal(t, response.StatusCode, p.Status)
	assert.Equal(t, http.StatusText(p.Status), p.Title)
	assert.Equal(t, "about:blank", p.Type)
	return p
}

// ask makes a request for a stream with a client of one HTTP version.
func ask(t testing.TB, client *http.Client, base, query string, change ...func(*http.Request)) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/events?"+query, nil)
	require.NoError(t, err)
	request.Header.Set("Accept", "text/event-stream")
	for _, change := range change {
		change(request)
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func withBearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// withCookie is what a browser sends for an EventSource of the bridge's own origin.
func withCookie(token string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Cookie", "session="+token)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
}

func withHeader(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = values }
}

const personal = `
public: {cookie: session, origins: ["https://app.example.com"]}
topics:
  - pattern: users/{user}
    publish: auth.kind == "token" && auth.issuer == "services"
    subscribe: topic.user == auth.sub && auth.issuer == "users"
`

// TestReadersTokens: each token in a header and in a cookie, over HTTP/1.1 and h2c.
func TestReadersTokens(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, personal+r.issuers())
	carriers := map[string]func(string) func(*http.Request){"header": withBearer, "cookie": withCookie}
	for _, test := range r.tokenCases(users, r.service("alice")) {
		for version, client := range httpVersions() {
			for carrier, show := range carriers {
				t.Run(test.name+", "+carrier+", "+version, func(t *testing.T) {
					response := ask(t, client, b.publicURL, topics("users/alice"), show(test.token))
					if test.refusal == "" {
						require.Equal(t, http.StatusOK, response.StatusCode)
						newEventStream(response.Body).nextNotice(t, "ssebridge.open")
						return
					}
					require.Equal(t, http.StatusUnauthorized, response.StatusCode)
					assert.Equal(t, `Bearer error="invalid_token"`, response.Header.Get("WWW-Authenticate"))
					p := readProblem(t, response)
					assert.Contains(t, p.Detail, test.refusal)
					for part := range strings.SplitSeq(test.token, ".") {
						if len(part) > 8 {
							assert.NotContains(t, p.Detail, part)
						}
					}
				})
			}
		}
	}
}

// protocols are those that publishers speak.
var protocols = map[string][]connect.ClientOption{
	"connect": nil, "connect JSON": {connect.WithProtoJSON()}, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()},
}

// publishAs publishes events with a unary call.
func publishAs(
	ctx context.Context, base, token string, options []connect.ClientOption, events ...*ssebridgev1.Event,
) ([]*ssebridgev1.PublishResult, error) {
	request := connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: events})
	bearer(request.Header(), token)
	response, err := ssebridgev1connect.NewPublishServiceClient(http2Client, base, options...).PublishBatch(ctx, request)
	if err != nil {
		return nil, err
	}
	return response.Msg.GetResults(), nil
}

// streamAs publishes events with a stream.
func streamAs(
	ctx context.Context, base, token string, options []connect.ClientOption, events ...*ssebridgev1.Event,
) (results []*ssebridgev1.PublishResult, err error) {
	stream := ssebridgev1connect.NewPublishServiceClient(http2Client, base, options...).Publish(ctx)
	bearer(stream.RequestHeader(), token)
	// The error of a call that is refused is what Receive returns.
	_ = stream.Send(&ssebridgev1.PublishRequest{Events: events})
	_ = stream.CloseRequest()
	for {
		response, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return results, nil
		} else if err != nil {
			return nil, err
		}
		results = append(results, response.GetResults()...)
	}
}

// TestPublishersTokens: each token in both calls, over each protocol.
func TestPublishersTokens(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, personal+r.issuers())
	calls := map[string]func(context.Context, string, string, []connect.ClientOption, ...*ssebridgev1.Event) ([]*ssebridgev1.PublishResult, error){
		"unary": publishAs, "stream": streamAs,
	}
	for _, test := range r.tokenCases(services, r.user("alice")) {
		for protocol, options := range protocols {
			for kind, call := range calls {
				t.Run(test.name+", "+kind+", "+protocol, func(t *testing.T) {
					results, err := call(t.Context(), b.internalURL, test.token, options, numbered(t, "users/alice", 1))
					if test.refusal == "" {
						require.NoError(t, err)
						require.Len(t, results, 1)
						assert.NotEmpty(t, results[0].GetCursor(), "%v", results[0].GetError())
						return
					}
					var refused *connect.Error
					require.ErrorAs(t, err, &refused)
					assert.Equal(t, connect.CodeUnauthenticated, refused.Code())
					assert.Contains(t, refused.Message(), test.refusal)
					assert.Equal(t, `Bearer error="invalid_token"`, refused.Meta().Get("WWW-Authenticate"))
				})
			}
		}
	}
}

// TestReadersCredentials: how a token is shown.
func TestReadersCredentials(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, personal+r.issuers())
	alice, bob := r.user("alice"), r.user("bob")
	const none, request, invalid = "Bearer", `Bearer error="invalid_request"`, `Bearer error="invalid_token"`
	for _, test := range []struct {
		name      string
		show      []func(*http.Request)
		status    int
		challenge string
		detail    string
	}{
		{"nothing", nil, 401, none, "may not be read without a token"},
		{"header", []func(*http.Request){withBearer(alice)}, 200, "", ""},
		{"scheme in lower case", []func(*http.Request){withHeader("Authorization", "bearer "+alice)}, 200, "", ""},
		{"scheme in capitals", []func(*http.Request){withHeader("Authorization", "BEARER "+alice)}, 200, "", ""},
		{"two headers", []func(*http.Request){withHeader("Authorization", "Bearer "+alice, "Bearer "+alice)}, 400, request, "more than one"},
		{"two headers, the second of somebody else", []func(*http.Request){withHeader("Authorization", "Bearer "+alice, "Bearer "+bob)}, 400, request, "more than one"},
		{"two headers, one empty", []func(*http.Request){withHeader("Authorization", "", "Bearer "+alice)}, 400, request, "more than one"},
		{"two headers that a proxy has joined", []func(*http.Request){withHeader("Authorization", "Bearer "+alice+", Bearer "+alice)}, 400, request, "one token"},
		{"empty header", []func(*http.Request){withHeader("Authorization", "")}, 401, none, "scheme Bearer"},
		{"scheme alone", []func(*http.Request){withHeader("Authorization", "Bearer")}, 400, request, "one token"},
		{"token alone", []func(*http.Request){withHeader("Authorization", alice)}, 401, none, "scheme Bearer"},
		{"another scheme", []func(*http.Request){withHeader("Authorization", "Basic YWxpY2U6c2VjcmV0")}, 401, none, "scheme Bearer"},
		{"another scheme beside a cookie", []func(*http.Request){withHeader("Authorization", "Basic YWxpY2U6c2VjcmV0"), withCookie(alice)}, 401, none, "scheme Bearer"},
		{"token in the query", []func(*http.Request){func(r *http.Request) { r.URL.RawQuery += "&access_token=" + alice }}, 400, "", "unknown parameter"},
		{"header and cookie agree", []func(*http.Request){withCookie(alice), withBearer(alice)}, 200, "", ""},
		{"header and cookie agree, page elsewhere", []func(*http.Request){withCookie(alice), withBearer(alice), withHeader("Origin", "https://evil.example.com")}, 200, "", ""},
		{"header and cookie in conflict", []func(*http.Request){withCookie(alice), withBearer(bob)}, 400, request, "different tokens"},
		{"header of the reader, cookie of another", []func(*http.Request){withCookie(bob), withBearer(alice)}, 400, request, "different tokens"},
		{"cookie", []func(*http.Request){withCookie(alice)}, 200, "", ""},
		{"cookie of another name", []func(*http.Request){withCookie(alice), withHeader("Cookie", "Session="+alice)}, 401, none, "without a token"},
		{"two cookies", []func(*http.Request){withCookie(alice), withHeader("Cookie", "session="+alice+"; session="+bob)}, 400, request, "more than one cookie"},
		{"two cookies in two headers", []func(*http.Request){withCookie(alice), withHeader("Cookie", "session="+alice, "session="+bob)}, 400, request, "more than one cookie"},
		{"cookie among others", []func(*http.Request){withCookie(alice), withHeader("Cookie", "a=b; session="+alice+"; c=d")}, 200, "", ""},
		{"empty cookie", []func(*http.Request){withCookie("")}, 401, none, "without a token"},
		{"malformed cookie", []func(*http.Request){withCookie("x")}, 401, invalid, "three parts"},
		{"somebody else", []func(*http.Request){withBearer(bob)}, 403, "", "you may not read users/alice"},
	} {
		for version, client := range httpVersions() {
			t.Run(test.name+", "+version, func(t *testing.T) {
				response := ask(t, client, b.publicURL, topics("users/alice"), test.show...)
				require.Equal(t, test.status, response.StatusCode)
				assert.Equal(t, test.challenge, response.Header.Get("WWW-Authenticate"))
				if test.status == http.StatusOK {
					newEventStream(response.Body).nextNotice(t, "ssebridge.open")
					return
				}
				assert.Contains(t, readProblem(t, response).Detail, test.detail)
			})
		}
	}
}

// TestAnonymousReaders are asked to sign in where they can.
func TestAnonymousReaders(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	const rules = "topics: [{pattern: 'public/**', subscribe: 'true'}, {pattern: 'guests', subscribe: 'auth.kind == \"anonymous\"'}, {pattern: 'nobody'}]\n"
	publishOnly := fmt.Sprintf("issuers: [{name: s, url: %q, jwks_file: %q, audiences: [x], roles: [publish]}]\n", services, r.file)
	for name, test := range map[string]struct {
		config  string
		refused int
	}{
		"no issuer":              {rules, 403},
		"issuer for publishers":  {rules + publishOnly, 403},
		"an issuer for each use": {rules + r.issuers(), 401},
	} {
		t.Run(name, func(t *testing.T) {
			b := startSecured(t, test.config)
			for topic, want := range map[string]int{
				"public": 200, "public/a": 200, "public/**": 200, "guests": 200,
				"nobody": test.refused, "unknown": test.refused, "**": test.refused,
			} {
				response := ask(t, streamClient, b.publicURL, topics(topic))
				assert.Equal(t, want, response.StatusCode, topic)
				wantChallenge := map[bool]string{true: "Bearer", false: ""}[want == 401]
				assert.Equal(t, wantChallenge, response.Header.Get("WWW-Authenticate"), topic)
			}
			results, err := publishAs(t.Context(), b.internalURL, "", nil, numbered(t, "public/a", 1))
			require.NoError(t, err)
			assert.Equal(t, "permission_denied", results[0].GetError().GetCode())
		})
	}
}

// TestPublishersCredentials: how a token is shown, also by callers that speak none of the protocols.
func TestPublishersCredentials(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, personal+r.issuers())
	good := r.service("orders")
	body := `{"events":[{"topic":"users/alice","data":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{}}}]}`
	for _, test := range []struct {
		name, contentType string
		show              func(*http.Request)
		status            int
		text              string
	}{
		{"good", "application/json", withBearer(good), 200, `"cursor"`},
		{"nothing", "application/json", withHeader("X-Nothing"), 200, `"permission_denied"`},
		{"two headers", "application/json", withHeader("Authorization", "Bearer "+good, "Bearer "+good), 400, `"code":"invalid_argument"`},
		{"another scheme", "application/json", withHeader("Authorization", "Basic x"), 401, `"code":"unauthenticated"`},
		{"cookie alone", "application/json", withHeader("Cookie", "session="+good), 200, `"permission_denied"`},
		{"charset", "application/json; charset=utf-8", withBearer("x"), 401, `"code":"unauthenticated"`},
		{"no such protocol", "text/plain", withBearer("x"), 401, `"title":"Unauthorized"`},
		{"no content type", "", withBearer("x"), 401, `"title":"Unauthorized"`},
	} {
		for version, client := range map[string]*http.Client{"HTTP/1.1": http.DefaultClient, "h2c": http2Client} {
			t.Run(test.name+", "+version, func(t *testing.T) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
					b.internalURL+"/ssebridge.v1.PublishService/PublishBatch", strings.NewReader(body))
				require.NoError(t, err)
				if test.contentType != "" {
					request.Header.Set("Content-Type", test.contentType)
				}
				test.show(request)
				response, err := client.Do(request)
				require.NoError(t, err)
				defer response.Body.Close()
				text, err := io.ReadAll(response.Body)
				require.NoError(t, err)
				assert.Equal(t, test.status, response.StatusCode, string(text))
				assert.Contains(t, string(text), test.text)
				assert.Equal(t, test.status == 400 || test.status == 401, response.Header.Get("WWW-Authenticate") != "")
			})
		}
	}
}
