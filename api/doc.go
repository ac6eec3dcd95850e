// Package api derives the GraphQL API of an App: commands become mutations, read
// models become queries and subscriptions.
//
// A Schema is data. Hosts serve it and deploy programs print it; nothing in it
// depends on where the App runs. It keeps to what AppSync can express, so there
// are no scalars but GraphQL's own, AWSDateTime and AWSJSON.
//
// Go types map to GraphQL types like this:
//
//	string                          String
//	bool                            Boolean
//	int8, int16, int32, uint8, uint16   Int
//	int, int64, uint, uint32, uint64    Float, whole and within ±2^53
//	float32, float64, json.Number   Float
//	time.Time                       AWSDateTime
//	json.RawMessage                 AWSJSON
//	[]byte                          String, in base64
//	encoding.TextMarshaler          String
//	slice, array                    list
//	struct                          object; in arguments, an input object
//	pointer                         nullable
//
// A field is named as in JSON, with a small first letter. Maps, interfaces and
// types with a MarshalJSON of their own cannot be expressed: use a list of
// structs or json.RawMessage, or keep the component out of the API with
// access.Internal.
package api
