// Package api derives the GraphQL API of an App: commands become mutations, read
// models become queries and subscriptions. The documentation of reventless.App.SDL
// describes it for applications.
//
// A Schema is data that servers resolve and print. Nothing in it depends on where
// the App runs. It uses only what AppSync can express; so the only scalars besides
// GraphQL's own are AWSDateTime and AWSJSON.
package api
