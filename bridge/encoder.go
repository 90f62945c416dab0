package bridge

// Encoder turns the messages that a publisher sends into the JSON that readers receive. It may be used
// concurrently. Its errors are of type *Refusal: an unknown type, bytes that are not of the type, a broken validation
// rule.
type Encoder interface {
	// Encode takes the type that [Encoders].TypeName has found and the value of a google.protobuf.Any. It returns the
	// message in the protobuf JSON mapping, compact and byte for byte the same for equal input.
	Encode(typeName string, value []byte) (data []byte, err error)
	// EncodeJSON does the same for an Any in the protobuf JSON mapping, such as {"@type":…,"orderId":…}.
	EncodeJSON(typeName string, json []byte) (data []byte, err error)
}

// Encoders makes encoders. It may be used concurrently.
type Encoders interface {
	// TypeName returns the full name of the type that an Any names, by its type URL, or, where json is not nil, by
	// the "@type" of an Any in the protobuf JSON mapping. It looks at nothing else, so that who may not publish the
	// type costs nothing more. The error is a *Refusal.
	TypeName(typeURL string, json []byte) (string, error)
	// Encoder returns an encoder for the types that the bridge knows and, behind those, the types of schema, a
	// serialized google.protobuf.FileDescriptorSet, which may be empty. The error is a *Refusal.
	Encoder(schema []byte) (Encoder, error)
}
