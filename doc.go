// Package reventless is a framework for event-sourced applications.
//
// An application is declared as plain Go values and functions without side effects. The
// framework runs the declaration: in one process on a SQLite file, or in AWS Lambda
// functions on DynamoDB, SQS, SNS, S3 and EventBridge. It derives a GraphQL API, and
// the permissions of every function.
//
// # Declaring an application
//
// An [App] has plugins, which are bounded contexts, and a plugin has components:
//
//	var Bank = reventless.New("bank", plugin.New(plugin.Spec{
//		Name:       "Retail",
//		Components: plugin.Components{Account, Balances},
//	}))
//
// Each component is declared by a Spec in a package of its own:
//
//   - [aggregate]: decides which events a command leads to.
//   - [readmodel]: projects events into rows, which are queried by id and index.
//   - [automation]: turns events into commands; side effects call outside services.
//   - [counter]: counts towards a target and publishes an event when it is reached.
//   - [schedule]: sends commands at planned times.
//   - [task]: processes files, or runs at planned times.
//   - [extension]: connects plugins through protocols of public commands and events.
//
// Package [message] defines commands and events, package [access] who may send and read
// them through the API, and package [plugin] the plugins themselves. [New] checks how
// the components refer to each other. A declaration is inert: it opens and runs nothing.
//
// # Testing
//
// Package [reventlesstest] tests each component by given, when and then, and runs a
// whole App in memory with a clock that the test controls:
//
//	reventlesstest.Aggregate(t, Account).
//		Given(Opened{Owner: "Ada"}).
//		When(Deposit{Amount: 100}).Then(Deposited{Amount: 100}).
//		When(Open{Owner: "Bob"}).ThenRejected("AlreadyOpen")
//
// # Running
//
// Package [local] runs an App in one process. Its Main is a complete command line
// program, with the API, a page to try it, and commands for operators:
//
//	func main() { local.Main(Bank, nil) }
//
// On AWS, one program serves every Lambda function of a stack, and another one creates
// the stack with Pulumi (packages [lambdahost] and [deploy]):
//
//	func main() { lambdahost.Start(Bank, nil) }
//
// # Guarantees
//
// The guarantees are the same on every host:
//
//   - The commits of an entity are atomic and ordered. Nothing acknowledged is lost.
//   - A command takes effect at most once per command id.
//   - Each commit changes a read model exactly once, in the order of its stream.
//   - Each event leads to the commands of an automation once. A side effect is called
//     at least once, with an idempotency key.
//   - A message that cannot be handled is parked with its reason. An operator redrives
//     or discards it.
//
// There is no order across streams and no transaction over several entities. Read
// models are eventually consistent. The [fine print] names the limits, and the test of
// each guarantee.
//
// [access]: https://pkg.go.dev/github.com/reventless-go/reventless/access
// [aggregate]: https://pkg.go.dev/github.com/reventless-go/reventless/aggregate
// [automation]: https://pkg.go.dev/github.com/reventless-go/reventless/automation
// [counter]: https://pkg.go.dev/github.com/reventless-go/reventless/counter
// [deploy]: https://pkg.go.dev/github.com/reventless-go/reventless/aws/deploy
// [extension]: https://pkg.go.dev/github.com/reventless-go/reventless/extension
// [fine print]: https://github.com/reventless-go/reventless/blob/main/docs/guarantees.md
// [lambdahost]: https://pkg.go.dev/github.com/reventless-go/reventless/aws/lambdahost
// [local]: https://pkg.go.dev/github.com/reventless-go/reventless/local
// [message]: https://pkg.go.dev/github.com/reventless-go/reventless/message
// [plugin]: https://pkg.go.dev/github.com/reventless-go/reventless/plugin
// [readmodel]: https://pkg.go.dev/github.com/reventless-go/reventless/readmodel
// [reventlesstest]: https://pkg.go.dev/github.com/reventless-go/reventless/reventlesstest
// [schedule]: https://pkg.go.dev/github.com/reventless-go/reventless/schedule
// [task]: https://pkg.go.dev/github.com/reventless-go/reventless/task
package reventless
