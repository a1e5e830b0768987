// Batch normalization (Ioffe and Szegedy 2015, "Batch Normalization"), and what often follows it at once: a
// shortcut is added, and what is negative becomes zero. Each would be one more pass through memory.
//
// Values are (rows, channels), dense: the pixels of images that are channels_last. They are read as one row of
// vectors. Where channels are not a multiple of the lanes, the channels of a vector's lanes come again after some
// vectors: what belongs to a channel is kept for each place of such a period, so that no lane is ever idle.

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "values.h"

namespace {

constexpr long FEWEST = 4, GROUP = 256;  // vectors of a period at least; periods that are summed in float
constexpr long SAMPLE = 64;              // rows whose mean stands for that of all
constexpr double FAR = 16;               // variances: more, squared, between the two means costs precision

// What is given where the value is above zero, and zero elsewhere; what is not a number goes on, as in torch.
template <class V>
inline V where_positive(V value, V given) {
    return value <= V{} ? V{} : given;
}

// The values of one thread: whole periods, and for the last thread what remains.
struct Part {
    long channels, period, first, last;  // in values; `first` is at the beginning of a period
    long whole() const { return first + (last - first) / period * period; }
};

long period_of(long channels) {
    long common = std::min(channels & -channels, LANES);  // the lanes are a power of two, and so is what divides both
    long period = channels * (LANES / common);
    return period * ((FEWEST * LANES + period - 1) / period);
}

std::vector<Part> parts(long rows, long channels, int threads) {
    long period = period_of(channels), total = rows * channels, periods = total / period;
    std::vector<Part> found;
    for (int thread = 0; thread < threads; thread++)
        found.push_back({channels, period, periods * thread / threads * period,
                         thread + 1 < threads ? periods * (thread + 1) / threads * period : total});
    return found;
}

// A value of each channel, for all places of a period.
std::vector<float> spread(const float* of_channels, long channels) {
    std::vector<float> places(period_of(channels));
    for (size_t place = 0; place < places.size(); place++) places[place] = of_channels[place % channels];
    return places;
}

// A part's sums by channel of two terms of each value: `terms(i, place, V{})` gives those of V from value i on.
template <class Terms>
void sum(const Part& part, Terms terms, double* first, double* second) {
    std::vector<float> one(part.period), two(part.period);
    auto add = [&](long start, long end, long place, auto width) {
        Lanes ones[width()] = {}, twos[width()] = {};
        for (long i = start + place; i < end; i += part.period)
            for (long v = 0; v < width(); v++) {
                auto [a, b] = terms(i + v * LANES, place + v * LANES, Lanes{});
                ones[v] += a, twos[v] += b;
            }
        for (long v = 0; v < width(); v++) put(&one[place + v * LANES], ones[v]), put(&two[place + v * LANES], twos[v]);
    };
    for (long start = part.first; start < part.whole(); start += GROUP * part.period) {
        long end = std::min(start + GROUP * part.period, part.whole()), place = 0;
        for (; place + FEWEST * LANES <= part.period; place += FEWEST * LANES)
            add(start, end, place, std::integral_constant<long, FEWEST>{});
        for (; place < part.period; place += LANES) add(start, end, place, std::integral_constant<long, 1>{});
        for (place = 0; place < part.period; place++) {
            first[place % part.channels] += one[place];
            second[place % part.channels] += two[place];
        }
    }
    for (long i = part.whole(); i < part.last; i++) {
        long channel = (i - part.first) % part.channels;
        auto [a, b] = terms(i, channel, 0.f);
        first[channel] += a, second[channel] += b;
    }
}

// The sums of all parts.
template <class Terms>
std::pair<std::vector<double>, std::vector<double>> sums(long rows, long channels, int threads, Terms terms) {
    std::vector<Part> shares = parts(rows, channels, threads);
    std::vector<double> first(threads * channels), second(threads * channels);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++)
        sum(shares[thread], terms, &first[thread * channels], &second[thread * channels]);
    for (long at = channels; at < threads * channels; at++)  // in order, so that the same bits come again
        first[at % channels] += first[at], second[at % channels] += second[at];
    first.resize(channels), second.resize(channels);
    return {first, second};
}

// Calls `work(i, place, V{})` for V from value i on, for all values.
template <class Work>
void each(long rows, long channels, int threads, Work work) {
    std::vector<Part> shares = parts(rows, channels, threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        const Part& part = shares[thread];
        for (long start = part.first; start < part.whole(); start += part.period)
            for (long place = 0; place < part.period; place += LANES) work(start + place, place, Lanes{});
        for (long i = part.whole(); i < part.last; i++) work(i, (i - part.first) % part.channels, 0.f);
    }
}

// The mean of some rows, far from each other.
std::vector<float> sampled(const Value* values, long rows, long channels) {
    long count = std::min(rows, SAMPLE);
    std::vector<float> means(channels);
    for (long one = 0; one < count; one++)
        for (long c = 0; c < channels; c++) means[c] += get<float>(values + rows * one / count * channels + c) / count;
    return means;
}

// Means and variances from sums of the distances from centers, and whether those were near enough.
bool moments(const Value* values, std::vector<float>& centers, float* mean, float* variance, long rows, int threads) {
    long channels = centers.size();
    std::vector<float> center = spread(centers.data(), channels);
    auto [away, squares] = sums(rows, channels, threads, [&](long i, long place, auto kind) {
        using V = decltype(kind);
        V distance = get<V>(values + i) - get<V>(&center[place]);
        return std::pair<V, V>(distance, distance * distance);
    });
    bool near = true;
    for (long c = 0; c < channels; c++) {
        double shift = away[c] / rows, left = squares[c] / rows - shift * shift;
        mean[c] = static_cast<float>(centers[c] + shift);
        variance[c] = static_cast<float>(left < 0 ? 0 : left);
        near &= !(shift * shift > FAR * left);
    }
    return near;
}

}  // namespace

extern "C" {

// The means (channels) of values (rows, channels), and their biased variances.
//
// In one pass: what is summed is how far values are from the mean of some of them, so that little is lost when the mean
// of all is taken away (Chan, Golub and LeVeque 1983, "Algorithms for Computing the Sample Variance"). Where that was
// too far off, once more.
void statistics(const Value* values, float* mean, float* variance, long rows, long channels, int threads) {
    std::vector<float> centers = sampled(values, rows, channels);
    if (moments(values, centers, mean, variance, rows, threads)) return;
    centers.assign(mean, mean + channels);
    moments(values, centers, mean, variance, rows, threads);
}

// outputs = values * scale + shift, of (rows, channels) and (channels); a shortcut (rows, channels) is added if it is
// not null, and if wanted what is negative then becomes zero.
void normalize(const Value* values, const Value* shortcut, Value* outputs, const float* scale, const float* shift, long rows,
               long channels, long rectified, int threads) {
    std::vector<float> scales = spread(scale, channels), shifts = spread(shift, channels);
    auto run = [&](auto finish) {
        each(rows, channels, threads, [&](long i, long place, auto kind) {
            using V = decltype(kind);
            put<V>(outputs + i, finish(i, get<V>(values + i) * get<V>(&scales[place]) + get<V>(&shifts[place])));
        });
    };
    auto positive = [](auto value) { return where_positive(value, value); };
    auto sum = [&](long i, auto value) { return value + get<decltype(value)>(shortcut + i); };
    if (shortcut && rectified) run([&](long i, auto value) { return positive(sum(i, value)); });
    else if (shortcut) run(sum);
    else if (rectified) run([&](long, auto value) { return positive(value); });
    else run([](long, auto value) { return value; });
}

// gradients of what `normalize` gave -> of the values (turned), of the weight and of the bias, where the values' means
// and 1 / deviation were `mean` and `inverse`.
//
// Where it was rectified, `outputs` (rows, channels) says which values count; or `scale` and `shift`, which made them, if
// it is null. `kept`, if not null, becomes the gradient of the shortcut: that of the outputs which were not zero.
void normalize_gradient(const Value* values, const Value* gradients, const Value* outputs, Value* kept, Value* turned,
                        const float* scale, const float* shift, const float* mean, const float* inverse, float* of_weight,
                        float* of_bias, long rows, long channels, long rectified, int threads) {
    std::vector<float> center = spread(mean, channels), scales = spread(scale, channels), shifts = spread(shift, channels);
    auto run = [&](auto masked, bool stored) {
        auto [all, away] = sums(rows, channels, threads, [&](long i, long place, auto kind) {
            using V = decltype(kind);
            V value = get<V>(values + i), gradient = masked(i, place, value, get<V>(gradients + i));
            if (stored) put<V>(kept + i, gradient);
            return std::pair<V, V>(gradient, gradient * (value - get<V>(&center[place])));
        });
        std::vector<float> slope(channels), level(channels);
        for (long c = 0; c < channels; c++) {
            of_bias[c] = static_cast<float>(all[c]);
            of_weight[c] = static_cast<float>(away[c] * inverse[c]);
            slope[c] = static_cast<float>(-scale[c] * inverse[c] * inverse[c] * away[c] / rows);
            level[c] = static_cast<float>(-scale[c] * all[c] / rows - slope[c] * mean[c]);
        }
        std::vector<float> slopes = spread(slope.data(), channels), levels = spread(level.data(), channels);
        each(rows, channels, threads, [&](long i, long place, auto kind) {
            using V = decltype(kind);
            V value = get<V>(values + i);
            V gradient = stored ? get<V>(kept + i) : masked(i, place, value, get<V>(gradients + i));
            put<V>(turned + i, gradient * get<V>(&scales[place]) + value * get<V>(&slopes[place]) + get<V>(&levels[place]));
        });
    };
    auto by_outputs = [&](long i, long, auto value, auto gradient) {
        return where_positive(get<decltype(value)>(outputs + i), gradient);
    };
    auto by_values = [&](long, long place, auto value, auto gradient) {
        using V = decltype(value);
        return where_positive<V>(value * get<V>(&scales[place]) + get<V>(&shifts[place]), gradient);
    };
    if (rectified && outputs) run(by_outputs, kept != nullptr);
    else if (rectified) run(by_values, false);
    else run([](long, long, auto, auto gradient) { return gradient; }, false);
}
}
