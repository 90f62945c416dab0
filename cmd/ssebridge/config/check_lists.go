package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ssebridge/ssebridge/auth/token"
)

func (k *checker) issuers(issuers []token.Issuer) {
	for _, wrong := range token.CheckIssuers(issuers) {
		k.report(wrong.Key(), errors.New(wrong.Problem))
	}
}

// topics checks declarations as far as that goes without their rules.
func (k *checker) topics(topics []Topic) {
	for i, topic := range topics {
		at := fmt.Sprintf("topics[%d]", i)
		first := slices.IndexFunc(topics, func(other Topic) bool { return other.Pattern == topic.Pattern })
		switch {
		case topic.Pattern == "":
			k.report(at+".pattern", errors.New("is missing: name the topics, such as shops/{shop}/orders/{order}"))
		case first < i:
			k.reportf(at+".pattern", "%s is declared by topics[%d] already, which governs: remove one", short(topic.Pattern), first)
		}
		k.unique(at+".types", topic.Types)
		k.reference(at+".source", topic.Source)
	}
}
