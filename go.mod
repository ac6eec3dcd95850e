module github.com/reventless-go/reventless

go 1.26
