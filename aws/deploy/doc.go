// Package deploy creates the AWS resources of an application with Pulumi:
//
//	pulumi.Run(func(ctx *pulumi.Context) error {
//		_, err := deploy.NewApp(ctx, shop.App(), &deploy.AppArgs{Code: "bin/lambda.zip"})
//		return err
//	})
//
// The resources follow from the declaration of the application: its topology lists
// the components, their sources and their grants. The functions use the same
// declaration, so the deployed functions, triggers and permissions match what the
// functions do. Each component is a Pulumi component resource, such as
// "reventless:aws:EventLog", with its AWS resources as children.
//
// Names depend only on application, stack and component; the environment of a
// function has only the stack, the account and the function's role. The name of a
// component is therefore part of the names of its tables: a renamed component does not
// keep its data. [AppArgs.Stateful] guards against that.
//
// Data that cannot be rebuilt from other data is protected in Pulumi: event logs, dead
// letters, counters, buckets, and the watermarks of automations, side effects and
// extensions. Their tables are also protected in DynamoDB and can be restored to any
// second of the last 35 days. See [Settings.Protect].
package deploy
