package rule

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"

	"github.com/ssebridge/ssebridge/auth"
)

// rule is one compiled expression. The zero value allows nobody.
type rule struct {
	program   cel.Program
	everybody bool // without asking the program
}

// allows evaluates the rule. Only true is yes: what is unknown, an error or not a bool is no.
func (r rule) allows(q question) bool {
	if r.program == nil {
		return r.everybody
	}
	if q.principal == nil {
		q.principal = auth.Anonymous()
	}
	a := activations.Get().(*activation)
	a.question = q
	result, _, err := r.program.Eval(a)
	a.question = question{} // holds on to nothing
	activations.Put(a)
	return err == nil && result == types.True
}

// question is what a rule is asked.
type question struct {
	principal   *auth.Principal
	declaration *declaration
	topic       string  // empty where a pattern with wildcards is asked for
	typeName    string  // of publish rules
	requested   pattern // of subscribe rules
}

// activation answers what the expression asks for, by name, so that an evaluation prepares nothing that its rule does
// not use. What a wildcard leaves open is an unknown value: the expression is then evaluated in part, and its result
// is unknown unless it is the same for every value.
type activation struct {
	question

	grantedFunc functions.LateBoundOp // made once, with the activation
}

var activations = sync.Pool{New: func() any {
	a := &activation{}
	a.grantedFunc = a.granted
	return a
}}

var unknown = types.NewUnknown(0, nil)

// ResolveName implements cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case varKind:
		return types.String(a.principal.Kind), true
	case varSubject:
		return types.String(a.principal.Subject), true
	case varIssuer:
		return types.String(a.principal.Issuer), true
	case varClaims:
		return a.principal.Claims, true
	case varType:
		return types.String(a.typeName), true
	case varTopicName:
		if a.topic == "" {
			return unknown, true
		}
		return types.String(a.topic), true
	}
	for _, c := range a.declaration.captures {
		if c.variable == name {
			return a.capture(c), true
		}
	}
	return nil, false
}

func (a *activation) capture(c capture) any {
	if a.topic != "" {
		return types.String(c.value(a.topic))
	}
	if value, known := c.requested(a.requested); known {
		return types.String(value)
	}
	return unknown
}

// Parent implements cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }

// ResolveFunction implements cel.FunctionActivation.
func (a *activation) ResolveFunction(name string) (functions.LateBoundOp, bool) {
	return a.grantedFunc, name == funcGranted
}
