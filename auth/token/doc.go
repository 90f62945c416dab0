// Package token finds out who makes a request from the JSON Web Token (RFC 7519) that it carries.
//
// A [Gate] (gate.go) takes the token from the Authorization header or from a cookie, under the rules that keep pages
// of other sites from using it (origin.go), and hands it to a [Verifier] (verify.go). That finds the configured
// [Issuer] (issuer.go) of the token and its keys, checks the signature and then the claims (claims.go). Keys (keys.go)
// come from a file (file.go) or from the network (remote.go, fetch.go), and are replaced while the program runs. The
// other way round, a [Key] (mint.go) makes tokens for development.
//
// What is refused for good is an [Error] with a reason; a token that cannot be checked now, because its issuer cannot
// be reached, is one whose Temporary is true. No text of an error and no line of the log holds any part of a token.
//
// The rules follow RFC 8725 (best current practices for JSON Web Tokens): the issuer decides which algorithms count,
// a key serves one kind of algorithm, issuer and audience are always checked, and nothing in a token leads to a key
// or to an address. Tokens signed with a shared secret (HS256 and so on) are always refused: whoever can check such a
// token can make one.
package token
