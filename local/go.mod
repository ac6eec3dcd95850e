module github.com/reventless-go/reventless/local

go 1.26

require (
	github.com/reventless-go/reventless v0.0.0
	modernc.org/sqlite v1.61.1
)

replace github.com/reventless-go/reventless => ../
