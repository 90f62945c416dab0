// Package schema knows the types of events: it turns protobuf messages into the JSON that readers receive, and
// refuses what is not of its type or breaks the type's rules.
//
// A [Registry] implements bridge.Encoders. The walk through it:
//
//	Open, Watch → files → set → index     descriptor-set files become types, again whenever they change
//	Encoder     → cache → set → index     the schema that a publisher sends becomes types for that publisher
//	Encode      → resolver → form → transcode                          what is common becomes JSON without being decoded
//	                       → depth → rules → protojson → compact JSON  all else, errors included
//
// A set is one serialized google.protobuf.FileDescriptorSet, as written by
//
//	buf build -o events.binpb
//	protoc --include_imports --descriptor_set_out=events.binpb events.proto
//
// Each set is a world of its own: the types of a message's fields are those of the message's set, so two services may
// bring the same file name with different content. Only the well-known types (google/protobuf/*.proto) and
// buf/validate/validate.proto are the same everywhere: they are linked in, and a set's copies of them are ignored.
//
// The type of an event, and of each google.protobuf.Any inside of it, is looked up among the well-known types, then in
// the files, then in the publisher's schema. The files are asked anew for each event, so a reload counts for streams
// that are open.
//
// Rules of protovalidate (buf.validate options) are checked where a type has any, its nested messages included; what
// an Any holds is not checked against its rules. Types without rules cost nothing.
//
// Both ways to JSON write the same bytes. The transcoder leaves to the protobuf runtime: messages to be checked against
// rules, until they have been; messages with required fields, extensions, groups, google.protobuf.Any or FieldMask;
// events that are not small; and bytes that no usual serializer writes, such as a field that comes twice.
//
// Publishers are not trusted with the process: what a set, or an event that is not small, takes in memory is estimated
// before it is decoded, nesting of declarations, of messages and of Any is bounded, and so is the cache of parsed sets.
// The exception is a publisher's own CEL rules, which run without a cost limit because protovalidate has none: only
// let those publish whose rules you would run.
//
// JSON of a request reaches the bridge before the types of its events are known. [JSONCodec] therefore leaves the data
// of each event as it is, and [TakeJSONData] hands it to the encoder later, so that an unknown type refuses its event
// and not the request. [BinaryCodec] is its counterpart for the binary format. Both bound the events of a request.
package schema
