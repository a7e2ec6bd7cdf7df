package kafkatest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ProduceTxn writes the records in one transaction, committed or aborted. It
// returns when the transaction's markers are in the log of every partition, so
// that the last stable offset has moved behind them. Records go to partitions as
// with [Broker.Produce].
func ProduceTxn(t testing.TB, b *Broker, commit bool, records ...*kgo.Record) {
	t.Helper()
	if err := produceTxn(b, commit, records); err != nil {
		t.Fatalf("kafkatest: transaction: %v", err)
	}
}

func produceTxn(b *Broker, commit bool, records []*kgo.Record) error {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	id := Unique("txn")
	cl, err := kgo.NewClient(append(b.Opts(), kgo.TransactionalID(id))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	if err := produceSync(ctx, cl, records); err != nil {
		return err
	}
	if err := cl.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
		return err
	}
	// The coordinator answers when the decision is logged and writes the markers
	// afterwards.
	adm := kadm.NewClient(cl)
	return poll(ctx, 10*time.Millisecond, func() error {
		described, err := adm.DescribeTransactions(ctx, id)
		if err != nil {
			return err
		}
		txn, err := described.On(id, nil)
		if err != nil {
			return err
		}
		return ended(txn)
	})
}

// ended tells in an error that a transaction's markers are not all written.
func ended(txn kadm.DescribedTransaction) error {
	switch {
	case txn.Err != nil:
		return txn.Err
	case txn.State == "CompleteCommit", txn.State == "CompleteAbort", txn.State == "Empty":
		return nil
	default:
		return fmt.Errorf("transaction %s is in state %s", txn.TxnID, txn.State)
	}
}
