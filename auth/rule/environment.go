package rule

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/decls"
)

// What rules know.
const (
	varKind      = "auth.kind"
	varSubject   = "auth.sub"
	varIssuer    = "auth.issuer"
	varClaims    = "auth.claims"
	topicPrefix  = "topic."
	varTopicName = topicPrefix + "name"
	varType      = "type"
	funcGranted  = "granted"
)

// Limits of an evaluation, which make what a rule costs depend on neither its author nor the holder of a token. They
// count steps and not time, so that the same question has the same answer on a machine that is busy.
const (
	// maxCost is in CEL's units, one for an operator or a list entry looked at, ten for a list. A lookup in a claim of
	// 10,000 entries fits; comparing two such claims with each other does not.
	maxCost = 100_000

	maxRegexProgram = 1_000  // instructions
	grantCost       = 10     // of one entry of granted: it is parsed and compared
	maxRuleChars    = 10_000 // of an expression
)

// environments returns what publish and subscribe rules know apart from the variables of their pattern. Variables are
// declared one by one, so that one that is misspelt is found when the rule is compiled. The extended string functions
// of cel-go stay out: variables take a topic apart already, and folding case would let names pass for equal that the
// bridge tells apart.
func environments() (publish, subscribe *cel.Env, err error) {
	base, err := cel.NewEnv(
		cel.Variable(varKind, cel.StringType),
		cel.Variable(varSubject, cel.StringType),
		cel.Variable(varIssuer, cel.StringType),
		cel.Variable(varClaims, cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable(varTopicName, cel.StringType),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.ParserExpressionSizeLimit(maxRuleChars),
		cel.RegexProgramSizeLimit(maxRegexProgram),
	)
	if err != nil {
		return nil, nil, err
	}
	if publish, err = base.Extend(cel.Variable(varType, cel.StringType)); err != nil {
		return nil, nil, err
	}
	const overload = "granted_list_string"
	subscribe, err = base.Extend(
		cel.Function(funcGranted,
			cel.Overload(overload, []*cel.Type{cel.ListType(cel.StringType)}, cel.BoolType, cel.LateFunctionBinding()),
			decls.DisableTypeGuards(true)), // which look at the first entry of a list only
		cel.CostModel(cost.Overload(overload, cost.EvalCost(
			cost.Sum(cost.Const(cost.CallCost), cost.Scale(cost.Length(cost.Arg(0)), grantCost))))),
	)
	return publish, subscribe, err
}
