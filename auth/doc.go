// Package auth is who asks: a [Principal], and its way through a context from the listener that read a token to the
// place where a rule is asked. It knows no technology; the packages below it each know one.
package auth
