#!/bin/sh
# Fits a line to 50 points by gradient descent with momentum, in awk, and prints its loss after each epoch.
#
#     sh train.sh LEARNING_RATE MOMENTUM
exec awk -v lr="$1" -v momentum="$2" -v epochs="${HPO_EPOCHS:-9}" -v seed="${HPO_SEED:-0}" '
BEGIN {
    srand(seed)
    for (i = 1; i <= 50; i++) {
        x[i] = i / 50
        y[i] = 3 * x[i] - 1 + 0.1 * (rand() - 0.5)
    }
    for (epoch = 1; epoch <= epochs; epoch++) {
        loss = da = db = 0
        for (i = 1; i <= 50; i++) {
            error = a * x[i] + b - y[i]
            loss += error * error / 50
            da += 2 * error * x[i] / 50
            db += 2 * error / 50
        }
        va = momentum * va - lr * da
        vb = momentum * vb - lr * db
        a += va
        b += vb
        printf "epoch %d: loss %.6f\n", epoch, loss
        fflush()  # or awk would keep its lines until its end
    }
}'
