package token

// Reason says in one word why a token is refused. There are few, so that a metric can carry it.
type Reason string

// Reasons.
const (
	ReasonMalformed   Reason = "malformed"     // not a signed token in compact form
	ReasonIssuer      Reason = "issuer"        // nobody who counts, or not for this use
	ReasonAlgorithm   Reason = "algorithm"     // a signature of a kind that is not allowed
	ReasonKey         Reason = "key"           // the issuer has no such key
	ReasonSignature   Reason = "signature"     // the key did not make this signature
	ReasonClaims      Reason = "claims"        // a claim is missing or not of its type
	ReasonAudience    Reason = "audience"      // meant for others
	ReasonExpired     Reason = "expired"       // was valid
	ReasonNotYet      Reason = "not_yet_valid" // will be valid
	ReasonUnavailable Reason = "unavailable"   // cannot be checked now; the only one that may pass
)

// Error is a token that does not count.
type Error struct {
	Reason Reason
	Detail string // what is wrong, for whoever sent the token; holds no part of it
	Err    error  // why it cannot be checked now, for the log; nil for the other reasons
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// Temporary says whether the same token may count later.
func (e *Error) Temporary() bool { return e.Reason == ReasonUnavailable }

func refuse(reason Reason, detail string) *Error { return &Error{Reason: reason, Detail: detail} }
