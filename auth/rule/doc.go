// Package rule is who may: the declared topics, and their rules in the Common Expression Language, whose one home it
// is.
//
// A [Declaration] names topics by a pattern whose wildcards may have names (declaration.go). [Compile] (compile.go)
// checks all of them and compiles their rules, so that what is wrong is found at the start: each wrong field is an
// [Error] that says where. The result is a [Set] (set.go). A topic is governed by the first declaration that matches
// it, which an index of segments finds (index.go); a pattern by each that intersects it, up to the first that covers
// it (pattern.go).
//
// # What rules know
//
// A rule is an expression of type bool (environment.go):
//
//	auth.kind     "anonymous" or "token"
//	auth.sub      the subject of the token
//	auth.issuer   the configured name of its issuer
//	auth.claims   its claims: auth.claims.shops, auth.claims["urn:example:shops"]
//	topic.name    the whole topic
//	topic.shop    what {shop} binds; what {rest=**} binds is the rest with its slashes, empty where there is none
//	type          publish rules: the full name of the event's type
//	granted(list) subscribe rules: whether a pattern in the list covers what is requested (granted.go)
//
// and the standard functions and macros of CEL. An empty rule allows nobody. Where an evaluation fails, because a
// claim is not there or not of the kind that the rule expects, the answer is no, and so it is for the rule's negation.
// What an evaluation may cost is limited (environment.go, meter.go): beyond it, the answer is no.
//
// # Patterns
//
// A pattern is allowed only where its rules hold for every topic that it matches. They are asked once, with an
// unknown value for everything that a wildcard leaves open (rule.go): topic.name always, topic.shop where the pattern
// has a wildcard in its place, granted where a grant matches a part of the pattern. Only what is true without these
// values is a yes. This errs on the safe side: topic.shop == "7" || topic.shop != "7" is not seen to be true for all,
// two grants are not seen to cover a pattern together, and nor are two declarations.
package rule
