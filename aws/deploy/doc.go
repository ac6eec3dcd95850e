// Package deploy makes what an application needs on AWS, with Pulumi:
//
//	pulumi.Run(func(ctx *pulumi.Context) error {
//		_, err := deploy.NewApp(ctx, shop.App(), &deploy.AppArgs{Code: "bin/lambda.zip"})
//		return err
//	})
//
// What there is to make follows from the declaration: its topology says which
// components exist, who reads whom and what each may do. So functions, triggers and
// rights cannot differ from what the functions do, which read the same declaration.
// Each component is a Pulumi component resource, "reventless:aws:EventLog" and so on,
// with the resources that it consists of below it.
//
// Names follow from application, stack and component alone; nothing is handed to the
// functions but the stack, the account and which of them they are. A component's
// name is therefore part of the names of its tables: its data does not come along
// when it is renamed. [AppArgs.Stateful] guards against that.
//
// What cannot be made from other data is kept from harm: event logs, dead letters,
// what automations have done, counters and buckets are protected in Pulumi and in
// DynamoDB, and can be restored to any second of the last 35 days. See
// [Settings.Protect].
package deploy
