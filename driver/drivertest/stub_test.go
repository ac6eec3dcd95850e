package drivertest
func engineFaults() []fault { return nil }
func stateTopicFaults() []fault { return nil }
func counterFaults() []fault { return nil }
func schedulerFaults() []fault { return nil }
func bucketFaults() []fault { return nil }
func deadLettersFaults() []fault { return nil }
func outcomesFaults() []fault { return nil }
func providerFaults() []fault { return nil }
